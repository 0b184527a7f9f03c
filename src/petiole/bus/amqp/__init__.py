"""The bus over RabbitMQ. `petiole.bus` opens it; nobody else imports it."""
