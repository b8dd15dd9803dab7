# An HTTP service, as the application sees it:
#   emit integration.warehouse.request {"method": "GET /items/{id}", "params": {"path": {"id": 42}, "query": {"full": true}}}
#   get  response.integration.warehouse.request {"ok": true, "result": {"status": 200, "headers": {…}, "body": {…}}, …}
variable "warehouse_token" {
  env     = "WAREHOUSE_TOKEN"
  default = "not-set"
}

integration "warehouse" {
  type = "http"

  endpoint {
    address = "https://warehouse.example.com"
    path    = "/api"                       # the paths of all requests are below this one
  }

  auth {
    type  = "bearer"                       # none | basic | bearer | certificate
    token = var.warehouse_token
  }

  config {
    allow_headers = ["Accept-Language"]    # a command's params.headers may contain only these
    idempotent    = ["POST /search"]       # may be repeated, besides GET, HEAD, PUT, DELETE and OPTIONS
    max_response  = "4MiB"
    health_path   = "/health"

    # the topic "poll": the content of a path, whenever it has changed
    poll = "30s"
    path = "/stock"

    # the topic "events": server-sent events; after a reconnection they continue where they stopped
    events = "/orders/events"
  }
}

# A plain event of the application becomes a request.
route "reservations" {
  on          = "order.placed"
  integration = "warehouse"
  operation   = "request"
  method      = "PUT /orders/{id}"
  params      = { path = { id = event.payload.id }, body = event.payload }
  emit        = "order.accepted"
}

subscription "stock" {
  integration = "warehouse"
  topic       = "poll"
  emit        = "data.stock"
}

subscription "reservations" {
  integration = "warehouse"
  topic       = "events"                   # message.headers.event is the event's type
  emit        = "data.orders"
}

# nemo-bridge test examples/http.hcl
test "an order is reserved" {
  remote "warehouse" {
    answers = [{ result = { status = 200, headers = {}, body = { shelf = "A3" } } }]
  }

  step {
    emit    = "order.placed"
    payload = { id = 7, items = 2 }
  }

  expect {
    call   = "warehouse"
    by     = "1s"
    method = "PUT /orders/{id}"
    params = { path = { id = 7 }, body = { items = 2 } }
    times  = 1
  }
  expect {
    event   = "order.accepted"
    by      = "1s"
    payload = { status = 200, body = { shelf = "A3" } }
  }
}
