# Payments that must not get lost, and must not be made twice; and a stream that gets everything at least once.
#
#   nemo-bridge run examples/delivery.hcl
#   nemo-bridge dead-letters list

bridge {
  outbox {
    max_bytes = "256MiB" # events and dead letters; beyond, new events are refused as `overloaded`
    max_age   = "12h"    # tried for so long; then an event is a dead letter
  }
}

integration "bank" {
  type = "json-rpc"

  endpoint {
    url = "https://bank.example.com/rpc"
  }

  config {
    idempotent = ["balance.get"] # may be repeated without a key
  }
}

integration "ledger" {
  type = "redis"

  endpoint {
    url = "redis://127.0.0.1:6379/0"
  }
}

# An event with a header `idempotency_key` is tried until the bank answers, which sees that key with each try. One without
# is tried until it may have been made: if its answer does not come, it is a dead letter marked `unknown`.
route "payments" {
  on          = ["payment.made"]
  integration = "bank"
  operation   = "request"
  method      = "payments.create"
  params      = event.payload
  delivery    = "at_least_once"
  receipts    = true                   # receipt.bank.delivered | dead_lettered | expired
  key         = event.payload.customer # each customer's payments in their order
}

# An entry may come twice, with the same `idempotency_key` among its headers.
route "book" {
  on          = ["payment.*"]
  integration = "ledger"
  operation   = "enqueue"
  queue       = "payments"
  message     = event.payload
  delivery    = "at_least_once"
}
