"""The formats that an export writes. `petiole.exports.task` imports it."""
