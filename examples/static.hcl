# Fixed values. They are read by key, and published once when the bridge starts. A reload that changes one of them, or
# anything else in this block, publishes all of them again, also those that are the same. A reload that changes nothing
# here publishes none.
integration "settings" {
  type = "static"

  config {
    values = {
      currency = "EUR"
      limits   = {
        orders = 20
        total  = 1000
      }
    }
  }
}

# Values can also come from a file: config { file = "settings.yaml" }, or .json, or .csv.

subscription "limits" {
  integration = "settings"
  topic       = "limits"          # one key, or "*" for all keys
  emit        = "data.limits"
}

# nemo-bridge test examples/static.hcl
test "the limits are published at the start" {
  expect {
    event   = "data.limits"
    payload = { message = { orders = 20, total = 1000 } }
    by      = "1s"
    times   = 1
  }
}
