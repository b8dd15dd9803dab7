"""What several adapters share: endpoints, TLS, content, JSON, error tables, HTTP and WebSocket transports."""
