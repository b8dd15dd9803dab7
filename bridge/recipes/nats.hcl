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
