# A desk in a fabric of bridges: ../fabric.yaml runs two of them and the office, `scripts/stack fabric` does so without
# containers. What is copied on one desk is on all; each desk prints on the office's printer and asks for its prices.
# The differences between desks come from the environment.

variable "node" {
  env     = "NODE"
  default = "desk-1"
}

variable "status" {
  env     = "STATUS"
  default = "127.0.0.1:9464"
}

variable "nats_url" {
  env     = "NATS_URL"
  default = "nats://127.0.0.1:4222"
}

# Further servers of the same cluster, as host:port.
variable "nats_second" {
  env     = "NATS_SECOND"
  default = "127.0.0.1:4223"
}

variable "nats_third" {
  env     = "NATS_THIRD"
  default = "127.0.0.1:4224"
}

bridge {
  status = var.status
}

integration "cluster" {
  type = "nats"

  endpoint {
    url = var.nats_url
  }

  config {
    servers = [var.nats_second, var.nats_third]
  }
}

fabric "plant" {
  integration = "cluster"
  node        = var.node
  export      = ["clipboard.copied"]
  import      = ["clipboard.copied"]
  use         = ["printer", "prices"]
  delivery    = "at_least_once"
  max_age     = "1h"
  max_bytes   = "64MiB"
  replicas    = 3
}

# document.finished → a file at the printer, wherever that is
route "print" {
  on          = ["document.finished"]
  integration = "printer"
  operation   = "publish"
  topic       = "${event.payload.name}.txt"
  message     = event.payload
  emit        = "document.printed"
}

# price.asked → the office's list of prices → price.answered
route "price" {
  on          = ["price.asked"]
  integration = "prices"
  operation   = "request"
  method      = "get"
  params      = { key = event.payload.product }
  emit        = "price.answered"
}

# A timer of all three nodes, which ticks on one of them: clock.struck
integration "clock" {
  type = "timer"

  config {
    schedule "strike" {
      every = "2s"
    }
  }
}

subscription "strike" {
  integration = "clock"
  topic       = "strike"
  emit        = "clock.struck"
  singleton   = "plant"
}
