# A WebSocket server. What comes from it is an event; what is published goes to it as one message.
#   emit integration.ticker.publish {"topic": "*", "message": {"subscribe": "EURUSD"}}
integration "ticker" {
  type = "websocket"

  endpoint {
    url = "wss://ticker.example.com/stream"
  }

  auth {
    type  = "bearer"                 # none | basic | bearer | certificate, in the opening handshake
    token = "${env.TICKER_TOKEN}"
  }

  config {
    subprotocol = "ticker.v2"        # asked for; left out, none
    ping        = "20s"              # without a pong until the next one the connection is made anew
    max_message = "1MiB"
    codec       = "auto"             # auto | json | msgpack | text | bytes
  }
}

subscription "prices" {
  integration = "ticker"
  topic       = "*"                  # the only one
  emit        = "data.prices"
}
