# NATS: requests to services, messages in both directions, and queues on JetStream.
variable "nats_password" {
  env     = "NATS_PASSWORD"
  default = "not-set"
}

integration "backbone" {
  type = "nats"

  endpoint {
    address = "nats.example.com"    # TLS; for a server without TLS write nats://… in a URL, or tls = false
  }

  auth {
    type     = "basic" # also bearer (token), nkey (seed), credentials (file), certificate (cert, key)
    username = "nemo"
    password = var.nats_password
  }

  config {
    servers = ["nats-2.example.com", "nats-3.example.com"]
    durable = "nemo"                # the consumer of queues that name none

    stream {                        # created if it does not exist; otherwise checked
      name     = "ORDERS"
      subjects = ["orders.*"]
    }
  }
}

# Stored by JetStream. An event that is repeated with the same idempotency key is stored once.
route "order_queue" {
  on          = "order.placed"
  integration = "backbone"
  operation   = "enqueue"
  queue       = "orders.new"
  message     = event.payload
}

# A request to a service, by request/reply.
route "price_requests" {
  on          = "price.wanted"
  integration = "backbone"
  operation   = "request"
  method      = "prices.get"
  params      = { item = event.payload.item }
  emit        = "price.known"
}

# Core NATS, at most once; each message goes to one of the sidecars of the group.
subscription "backbone_metrics" {
  integration = "backbone"
  topic       = "metrics.>"
  group       = "nemo"
  emit        = "data.metrics"
}

# JetStream: acknowledged when the event is on the bus.
subscription "shipped" {
  integration = "backbone"
  queue       = "ORDERS/nemo"
  emit        = "order.seen"
}

# nemo-bridge test examples/nats.hcl
test "an order is stored" {
  step {
    emit    = "order.placed"
    payload = { id = 7 }
  }

  expect {
    call    = "backbone"
    by      = "1s"
    queue   = "orders.new"
    message = { id = 7 }
    times   = 1
  }
}

test "a stored order becomes an event" {
  step {
    message = "shipped"
    payload = { id = 7 }
  }

  expect {
    event   = "order.seen"
    by      = "1s"
    payload = { message = { id = 7 } }
  }
}
