"""Find the acknowledgement of a message in what a client says to its server."""


def of_redis(said: bytes) -> bool:
    """Whether there is an XACK."""
    return b"XACK" in said


def of_jetstream(said: bytes) -> bool:
    """Whether there is a +ACK."""
    return b"$JS.ACK." in said and b"+ACK" in said


def of_mqtt(said: bytes) -> bool:
    """Whether there is a PUBACK or a PUBREC, in whole packets that are shorter than 128 bytes."""
    while len(said) > 1:
        if said[0] in {0x40, 0x50}:
            return True
        said = said[2 + said[1] :]
    return False
