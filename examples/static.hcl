# Fixed values: read by key, and said once on the bus when the bridge starts and when a reload changes them.
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

# The same from a file: config { file = "settings.yaml" }, or .json, or .csv.

subscription "limits" {
  integration = "settings"
  topic       = "limits"          # one key, or "*" for all of them
  emit        = "data.limits"
}
