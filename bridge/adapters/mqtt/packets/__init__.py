"""MQTT messages: their properties and headers, what comes in and what goes out."""
