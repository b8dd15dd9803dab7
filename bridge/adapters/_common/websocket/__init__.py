"""Opening a WebSocket connection, and what its library's errors mean."""
