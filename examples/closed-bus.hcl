# A bus beyond one machine, closed with CURVE keys. Beforehand, where the bridge runs:
#
#   nemo-bridge keys new bridge
#   nemo-bridge keys authorize till.key --publish 'order.**' --subscribe 'health.**' --subscribe 'response.**'
#
# till.key is what the program's user has made on the other machine with `nemo-bridge keys new till`, and sent.
bus {
  publish   = "tcp://0.0.0.0:48621"
  subscribe = "tcp://0.0.0.0:48622"

  curve {
    secret_key      = "keys/bridge.key_secret"
    authorized_keys = "keys/authorized"       # read again on bridge.reload and SIGHUP
  }
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "https://shop.example.com/rpc"
  }
}

# Only the bridge can say `response.order.created`: the till knows that the answer is no forgery.
route "orders" {
  on          = "order.*"
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
}
