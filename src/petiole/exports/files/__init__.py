"""Where exported files are kept. The rest of `petiole.exports` imports it."""
