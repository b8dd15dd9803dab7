# A JSON-RPC service over WebSocket: calls, and notifications from the server.
#
#   QUOTES_TOKEN=… nemo-bridge run examples/json-rpc-websocket.hcl --var quotes_url=wss://quotes.example/rpc
#
# Everything uses one connection. When it breaks, the bridge connects again and restores the subscriptions.

variable "quotes_url" {
  default = "ws://127.0.0.1:8081/rpc"
}

variable "quotes_token" {
  env     = "QUOTES_TOKEN"
  default = "not-set"
}

integration "quotes" {
  type = "json-rpc"

  endpoint {
    url = var.quotes_url # ws:// or wss://
  }

  auth {
    type  = "bearer" # in the opening handshake; also basic, certificate, none
    token = var.quotes_token
  }

  config {
    ping       = "10s"    # no answer until the next ping: the connection is closed and made again
    batch      = true     # calls that wait at the same time are sent as one JSON array
    idempotent = ["echo"] # methods that may be repeated even if the first call may have been executed
  }
}

# The server's notifications of this method become events; "*" means all methods.
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

# nemo-bridge test examples/json-rpc-websocket.hcl
test "a price is asked for" {
  remote "quotes" {
    answers = [{ result = { euros = 3 } }]
  }

  step {
    emit    = "price.wanted"
    payload = { symbol = "NEMO", item = "tea" }
  }

  expect {
    call   = "quotes"
    by     = "1s"
    method = "echo"
    params = { symbol = "NEMO" }
    times  = 1
  }
  expect {
    event   = "price.answered"
    by      = "1s"
    payload = { euros = 3 }
  }
}
