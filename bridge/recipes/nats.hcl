# NATS: requests to services, messages of subjects, and events that JetStream stores.
#
# Needs a NATS server with JetStream on this machine (nats-server -js). Each command in a terminal of its own:
#
#   nemo-bridge run nats.hcl
#   nemo-bridge tap 'order.**' 'data.**'
#   nemo-bridge emit order.placed '{"id": 7}' --wait

variable "nats_url" {
  env     = "NATS_URL" # tls://… for TLS
  default = "nats://127.0.0.1:4222"
}

integration "backbone" {
  type = "nats"

  endpoint {
    url = var.nats_url
  }

  # auth {
  #   type     = "basic" # or bearer (token), nkey (seed), credentials (file), certificate (cert, key)
  #   username = "bridge"
  #   password = env.NATS_PASSWORD
  # }

  config {
    durable = "bridge" # the consumer of the stream; made if it does not exist

    stream { # made if it does not exist; otherwise checked
      name     = "ORDERS"
      subjects = ["orders.*"]
    }
  }
}

# price.wanted → a request to the service that listens to prices.get; its answer becomes the event price.known.
route "prices" {
  on          = ["price.wanted"]
  integration = "backbone"
  operation   = "request"
  method      = "prices.get"
  params = {
    item = event.payload.item
  }
  emit = "price.known"
}

# order.placed → stored by JetStream; kept on disk here until the server has confirmed it.
route "orders" {
  on          = ["order.placed"]
  integration = "backbone"
  operation   = "enqueue"
  queue       = "orders.placed"
  message     = event.payload
  delivery    = "at_least_once"
}

# What the stream stores becomes the event order.stored, by the durable consumer "bridge". A message is acknowledged
# when its event is on the bus. It waits in the stream while no program on the bus listens to the event.
subscription "orders" {
  integration = "backbone"
  queue       = "ORDERS/bridge"
  emit        = "order.stored"
}

# Messages of the subjects below metrics become events, at most once: data.metrics.load and others.
subscription "metrics" {
  integration = "backbone"
  topic       = "metrics.>"
  emit        = "data.${message.topic}"
}

# Tests, which need no server and no bus: nemo-bridge test nats.hcl
test "a price is asked for" {
  remote "backbone" { # stands in for the server and the services behind it
    answers = [{ result = { euros = 3 } }]
  }

  step {
    emit    = "price.wanted"
    payload = { item = "tea" }
  }

  expect {
    call   = "backbone"
    method = "prices.get"
    params = { item = "tea" }
  }
  expect {
    event   = "price.known"
    payload = { euros = 3 }
  }
}

test "an order waits until the server is there" {
  step {
    remote = "backbone"
    down   = true
  }
  step {
    at      = "1s"
    emit    = "order.placed"
    payload = { id = 7 }
  }
  step {
    at     = "10m"
    remote = "backbone"
    down   = false
  }

  expect {
    call    = "backbone"
    queue   = "orders.placed"
    message = { id = 7 }
    times   = 1
  }
}

test "a stored order becomes an event" {
  step {
    message = "orders"
    payload = { id = 7 }
  }

  expect {
    event   = "order.stored"
    payload = { message = { id = 7 } }
  }
}

test "a metric becomes an event" {
  step {
    message = "metrics"
    topic   = "metrics.load"
    payload = 0.5
  }

  expect {
    event   = "data.metrics.load"
    payload = { message = 0.5 }
  }
}
