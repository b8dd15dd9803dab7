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

# nemo-bridge test examples/delivery.hcl
test "a payment that may have been made is not made again" {
  remote "bank" {
    answers = [{ error = "timeout" }]
  }

  step {
    emit    = "payment.made"
    payload = { customer = "Ann", cents = 500 }
  }

  expect {
    call  = "bank"
    by    = "1m"
    times = 1
  }
  expect {
    event = "receipt.bank.dead_lettered"
    by    = "1m"
    times = 1
  }
}

test "a payment with a key is made again until the bank answers" {
  remote "bank" {
    answers = [{ error = "timeout" }, { error = "unavailable" }, { result = { number = 1 } }]
  }

  step {
    emit    = "payment.made"
    payload = { customer = "Ann", cents = 500 }
    headers = { idempotency_key = "payment-7" }
  }

  expect {
    call  = "bank"
    by    = "1m"
    times = 3
  }
  expect {
    event = "receipt.bank.delivered"
    by    = "1m"
    times = 1
  }
  expect {
    call  = "ledger"
    by    = "1m"
    queue = "payments"
    times = 1
  }
}
