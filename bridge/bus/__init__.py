"""All of ZeroMQ: broker, sockets, codec, filters."""
