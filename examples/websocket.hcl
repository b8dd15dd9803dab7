# A WebSocket server. Each message from it becomes an event. Each `publish` is sent to it as one message.
#   emit integration.ticker.publish {"topic": "*", "message": {"subscribe": "EURUSD"}}
variable "ticker_token" {
  env     = "TICKER_TOKEN"
  default = "not-set"
}

integration "ticker" {
  type = "websocket"

  endpoint {
    url = "wss://ticker.example.com/stream"
  }

  auth {
    type  = "bearer"                 # none | basic | bearer | certificate, in the opening handshake
    token = var.ticker_token
  }

  config {
    subprotocol = "ticker.v2"        # requested from the server; default: none
    ping        = "20s"              # no pong until the next ping: the connection is closed and made again
    max_message = "1MiB"
    codec       = "auto"             # auto | json | msgpack | text | bytes
  }
}

subscription "ticks" {
  integration = "ticker"
  topic       = "*"                  # the only topic
  emit        = "data.prices"
}

# nemo-bridge test examples/websocket.hcl
test "a message of the server becomes an event" {
  step {
    message = "ticks"
    payload = { symbol = "EURUSD", price = 1.1 }
  }

  expect {
    event   = "data.prices"
    by      = "1s"
    payload = { message = { price = 1.1 } }
  }
}
