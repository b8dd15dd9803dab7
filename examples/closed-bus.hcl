# A bus beyond one machine, closed with CURVE keys. First run these commands on the machine of the bridge:
#
#   nemo-bridge keys new bridge
#   nemo-bridge keys authorize till.key --publish 'order.**' --subscribe 'health.**' --subscribe 'response.**'
#
# The other program's user creates till.key on the other machine with `nemo-bridge keys new till`, and sends you this file.
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

# Only the bridge may publish `response.order.created`. So the till knows that the answer is genuine.
route "orders" {
  on          = "order.*"
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
}
