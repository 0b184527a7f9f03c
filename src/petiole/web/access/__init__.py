"""Who may do what, from which site. The rest of `petiole.web` imports it, and so may exports."""
