# A JSON-RPC service over WebSocket: calls, and what the server tells by itself.
#
#   QUOTES_TOKEN=… nemo-bridge run examples/json-rpc-websocket.hcl --var quotes_url=wss://quotes.example/rpc
#
# One connection carries everything; it is made again when it breaks, and the subscriptions with it.

variable "quotes_url" {
  default = "ws://127.0.0.1:8080/rpc"
}

integration "quotes" {
  type = "json-rpc"

  endpoint {
    url = var.quotes_url # ws:// or wss://
  }

  auth {
    type  = "bearer" # in the opening handshake; also basic, certificate, none
    token = "${env.QUOTES_TOKEN}"
  }

  config {
    ping       = "10s"    # without an answer until the next one the connection is given up
    batch      = true     # calls that wait at the same moment share one array
    idempotent = ["echo"] # methods that may be repeated although the first call may have got through
  }
}

# The server's notifications of this method are messages; "*" means all of them.
subscription "prices" {
  integration = "quotes"
  topic       = "price"
  emit        = "data.price"
}

# price.wanted → echo; the result comes back as price.answered.
route "ask" {
  on          = ["price.wanted"]
  integration = "quotes"
  operation   = "request"
  method      = "echo"
  params = {
    symbol = event.payload.symbol
  }
  emit = "price.answered"
}
