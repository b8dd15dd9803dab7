# One sidecar that uses all servers of the stack. compose.yaml runs it in containers, scripts/stack runs it without.
# The differences come from the environment. The defaults are for one machine that runs all servers.

variable "rpc_url" {
  env     = "RPC_URL"
  default = "http://127.0.0.1:8080/rpc"
}

variable "mqtt_url" {
  env     = "MQTT_URL"
  default = "mqtt://127.0.0.1:1883"
}

variable "redis_url" {
  env     = "REDIS_URL"
  default = "redis://127.0.0.1:6379/0"
}

variable "nats_url" {
  env     = "NATS_URL"
  default = "nats://127.0.0.1:4222"
}

variable "nats_status_url" {
  env     = "NATS_STATUS_URL"
  default = "http://127.0.0.1:8222"
}

variable "exchange" {
  env     = "EXCHANGE"
  default = "exchange"
}

# JSON-RPC: order.created → orders.create → order.confirmed
integration "shop" {
  type = "json-rpc"

  endpoint {
    url = var.rpc_url
  }

  config {
    idempotent    = ["orders.create"]
    health_method = "count"
  }
}

route "orders" {
  on          = ["order.created"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
  emit        = "order.confirmed"
}

# MQTT: lamp.switched → the topic lamps/<room>/set; all messages below lamps/ → lamp.seen
integration "devices" {
  type = "mqtt"

  endpoint {
    url = var.mqtt_url
  }
}

route "lamps" {
  on          = ["lamp.switched"]
  integration = "devices"
  operation   = "publish"
  topic       = "lamps/${event.payload.room}/set"
  message     = event.payload
}

subscription "lamps" {
  integration = "devices"
  topic       = "lamps/#"
  emit        = "lamp.seen"
}

# Redis: job.wanted → the stream "jobs" → job.taken; price.changed → the channel "prices" → price.seen
integration "store" {
  type = "redis"

  endpoint {
    url = var.redis_url
  }

  config {
    group      = "nemo"
    max_length = 10000
  }
}

route "jobs" {
  on          = ["job.wanted"]
  integration = "store"
  operation   = "enqueue"
  queue       = "jobs"
  message     = event.payload
}

subscription "jobs" {
  integration = "store"
  queue       = "jobs"
  emit        = "job.taken"
}

route "prices" {
  on          = ["price.changed"]
  integration = "store"
  operation   = "publish"
  topic       = "prices"
  message     = event.payload
}

subscription "prices" {
  integration = "store"
  topic       = "prices"
  emit        = "price.seen"
}

# NATS: parcel.packed → JetStream's stream PARCELS → parcel.shipped; metric.read → a core subject → metric.seen
integration "backbone" {
  type = "nats"

  endpoint {
    url = var.nats_url
  }

  config {
    durable = "nemo"

    stream {
      name     = "PARCELS"
      subjects = ["parcels.*"]
    }
  }
}

route "parcels" {
  on          = ["parcel.packed"]
  integration = "backbone"
  operation   = "enqueue"
  queue       = "parcels.new"
  message     = event.payload
}

subscription "parcels" {
  integration = "backbone"
  queue       = "PARCELS/nemo"
  emit        = "parcel.shipped"
}

route "metrics" {
  on          = ["metric.read"]
  integration = "backbone"
  operation   = "publish"
  topic       = "metrics.${event.payload.name}"
  message     = event.payload
}

subscription "metrics" {
  integration = "backbone"
  topic       = "metrics.>"
  emit        = "metric.seen"
}

# HTTP: backbone.asked → a page of the NATS server's status pages → backbone.answered
integration "status" {
  type = "http"

  endpoint {
    url = var.nats_status_url
  }

  config {
    health_path = "/healthz"
  }
}

route "status" {
  on          = ["backbone.asked"]
  integration = "status"
  operation   = "request"
  method      = "GET /{page}"
  params      = { path = { page = event.payload.page } }
  emit        = "backbone.answered"
}

# A directory: note.written → a file; any file that appears or changes → note.seen
integration "exchange" {
  type = "file"

  config {
    root     = var.exchange
    interval = "500ms"
  }
}

route "notes" {
  on          = ["note.written"]
  integration = "exchange"
  operation   = "publish"
  topic       = "${event.payload.name}.json"
  message     = event.payload
}

subscription "notes" {
  integration = "exchange"
  topic       = "*.json"
  emit        = "note.seen"
}

# Fixed values: setting.asked → setting.answered
integration "settings" {
  type = "static"

  config {
    values = {
      currency = "EUR"
      limit    = 1000
    }
  }
}

route "settings" {
  on          = ["setting.asked"]
  integration = "settings"
  operation   = "request"
  method      = "get"
  params      = { key = event.payload.key }
  emit        = "setting.answered"
}

# A timer: clock.ticked
integration "clock" {
  type = "timer"

  config {
    schedule "tick" {
      every       = "2s"
      immediately = true
    }
  }
}

subscription "tick" {
  integration = "clock"
  topic       = "tick"
  emit        = "clock.ticked"
}
