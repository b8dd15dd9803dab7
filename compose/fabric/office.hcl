# The office in a fabric of bridges: it has what the desks use, a printer (here: a folder) and a list of prices.

variable "node" {
  env     = "NODE"
  default = "office"
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

variable "printed" {
  env     = "PRINTED"
  default = "printed"
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

integration "printer" {
  type = "file"

  config {
    root = var.printed
  }
}

integration "prices" {
  type = "static"

  config {
    values = {
      pencil = 80
      paper  = 450
    }
  }
}

fabric "plant" {
  integration = "cluster"
  node        = var.node
  export      = ["clipboard.copied"]
  import      = ["clipboard.copied"]
  offer       = ["printer", "prices"]
  delivery    = "at_least_once"
  max_age     = "1h"
  max_bytes   = "64MiB"
  replicas    = 3
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
