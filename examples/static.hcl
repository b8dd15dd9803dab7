# Fixed values. They are read by key, and published once when the bridge starts and when a reload changes them.
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
