"""The MQTT packets that this adapter writes and reads by itself, without any I/O.

These are the packets that carry a packet identifier: PUBLISH and its acknowledgements, SUBSCRIBE and UNSUBSCRIBE. The
other ones (CONNECT, CONNACK, PINGREQ, PINGRESP, DISCONNECT, AUTH) are paho's.
"""
