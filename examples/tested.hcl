# A configuration with its tests, which need no remote, no bus and no secret:
#
#   nemo-bridge test examples/tested.hcl
#
# They run on a virtual clock, with stand-ins for the remotes. docs/testing.md explains them.

integration "packing" {
  type = "json-rpc"

  endpoint {
    url = "http://127.0.0.1:8090/rpc"
  }

  config {
    idempotent = ["parcels.pack"] # may be called again if an answer is lost
  }

  resilience {
    timeout = "2s"

    circuit_breaker {
      failure_threshold = 5
      timeout           = "30s"
    }
  }
}

integration "scales" {
  type = "mqtt"

  endpoint {
    url = "mqtt://127.0.0.1:1884"
  }
}

# parcel.ready → parcels.pack; it is delivered even if packing is closed for hours.
route "parcels" {
  on          = ["parcel.ready"]
  where       = event.payload.items > 0
  integration = "packing"
  operation   = "request"
  method      = "parcels.pack"
  params      = { id = event.payload.id }
  emit        = "parcel.packed"
  delivery    = "at_least_once"
}

subscription "weights" {
  integration = "scales"
  topic       = "scales/+/weight"
  emit        = "parcel.weighed"
}

test "a parcel is packed" {
  remote "packing" {
    answers = [{ result = { shelf = "A3" }, after = "300ms" }]
  }

  step {
    emit    = "parcel.ready"
    payload = { id = 7, items = 2 }
  }

  expect {
    event   = "parcel.packed"
    by      = "1s"
    payload = { shelf = "A3" }
  }
  expect {
    call   = "packing"
    by     = "10s"
    method = "parcels.pack"
    params = { id = 7 }
    times  = 1
  }
}

test "an empty parcel is left alone" {
  step {
    emit    = "parcel.ready"
    payload = { id = 8, items = 0 }
  }

  expect {
    call  = "packing"
    by    = "10s"
    times = 0
  }
}

test "a lost answer is asked for again" {
  remote "packing" {
    answers = [
      { error = "timeout" },                # no answer at all: `resilience.timeout` ends the attempt
      { error = "unavailable" },
      { result = { shelf = "A3" } },        # the last answer repeats
    ]
  }

  step {
    emit    = "parcel.ready"
    payload = { id = 7, items = 2 }
  }

  expect {
    event = "parcel.packed"
    by    = "5s"
    times = 1
  }
  expect {
    event = "resilience.packing.retry"
    by    = "10s"
    times = 2
  }
}

test "a parcel waits while packing is closed" {
  step {
    remote = "packing"
    down   = true
  }
  step {
    at      = "1s"
    emit    = "parcel.ready"
    payload = { id = 7, items = 2 }
  }
  step {
    at     = "10m"
    remote = "packing"
    down   = false
  }

  expect {
    event = "parcel.packed"
    by    = "10m"
    times = 0
  }
  expect {
    event = "parcel.packed"
    by    = "16m" # the breaker tries again after five minutes at the latest
    times = 1
  }
}

test "a weight becomes an event" {
  step {
    message = "weights"
    topic   = "scales/3/weight"
    payload = { grams = 250 }
  }

  expect {
    event   = "parcel.weighed"
    by      = "10s"
    payload = { topic = "scales/3/weight", message = { grams = 250 } }
    times   = 1
  }
}
