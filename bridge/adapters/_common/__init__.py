"""Parts that several adapters use: endpoints, TLS, content, JSON, error tables, HTTP and WebSocket transports."""
