# Payments that must neither get lost nor be made twice, and a stream that gets every event at least once.
#
#   nemo-bridge run examples/delivery.hcl
#   nemo-bridge dead-letters list
#
# How much is kept, and how long, says the block `outbox` in bridge.hcl.

integration "bank" {
  type = "json-rpc"

  endpoint {
    url = "https://bank.example.com/rpc"
  }

  config {
    idempotent = ["balance.get"] # these methods may be repeated without a key
  }
}

integration "ledger" {
  type = "redis"

  endpoint {
    url = "redis://127.0.0.1:6379/0"
  }
}

# An event with a header `idempotency_key` is tried until the bank answers. Each try has the same key. An event
# without the header is never sent twice: if its answer does not come, it becomes a dead letter marked `unknown`.
route "payments" {
  on          = ["payment.made"]
  integration = "bank"
  operation   = "request"
  method      = "payments.create"
  params      = event.payload
  delivery    = "at_least_once"
  receipts    = true                   # receipt.bank.delivered | dead_lettered | expired
  key         = event.payload.customer # the payments of each customer keep their order
}

# An entry may appear twice, with the same `idempotency_key` in its headers.
route "book" {
  on          = ["payment.*"]
  integration = "ledger"
  operation   = "enqueue"
  queue       = "payments"
  message     = event.payload
  delivery    = "at_least_once"
}
