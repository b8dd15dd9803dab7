"""The MQTT packets, without any I/O: what a broker sends, and what is written to it but CONNECT, which is paho's."""
