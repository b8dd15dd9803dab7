"""At-least-once delivery, proved from outside: an independent program, a ledger at the remote, and two killers."""
