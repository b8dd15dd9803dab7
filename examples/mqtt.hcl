# MQTT 5: sensors and commands through a broker, with a session that the broker keeps while the sidecar is away.
variable "mqtt_password" {
  env     = "MQTT_PASSWORD"
  default = "not-set"
}

integration "events" {
  type = "mqtt"

  endpoint {
    address = "mqtt.example.com"    # TLS, port 8883
  }

  auth {
    type     = "basic" # also certificate; bearer: the token is sent as password, with the user name `bearer_username`
    username = "nemo"
    password = var.mqtt_password
  }

  config {
    client_id      = "nemo-sidecar"
    clean_start    = false          # messages published while the sidecar is away arrive later
    session_expiry = "12h"
    keep_alive     = "60s"

    will {                          # published by the broker if the connection ends without a DISCONNECT
      topic   = "nemo/status"
      message = { status = "gone" }
      retain  = true
    }
  }
}

# The default is QoS 1. Event headers are sent as user properties.
route "switch" {
  on          = "lamp.*"
  integration = "events"
  operation   = "publish"
  topic       = "lamps/${event.payload.room}/set"
  message     = { on = event.payload.on }
  qos         = 2
  retain      = true
}

# Request/response: the method is the topic; the answer comes on the response topic.
route "firmware" {
  on          = "firmware.wanted"
  integration = "events"
  operation   = "request"
  method      = "devices/firmware/latest"
  params      = { model = event.payload.model }
  emit        = "firmware.known"
}

# Acknowledged when the event is on the bus: metrics/cpu/load becomes data.metrics.cpu.load.
subscription "metrics" {
  integration = "events"
  topic       = "metrics/#"
  emit        = "data.${message.topic}"
}

# Each message goes to one of the sidecars of the group.
subscription "jobs" {
  integration = "events"
  topic       = "jobs/+"
  group       = "nemo"
}

# nemo-bridge test examples/mqtt.hcl
test "a lamp is switched on" {
  step {
    emit    = "lamp.switched"
    payload = { room = "hall", on = true }
  }

  expect {
    call    = "events"
    by      = "1s"
    topic   = "lamps/hall/set"
    message = { on = true }
    times   = 1
  }
}

test "a metric becomes an event" {
  step {
    message = "metrics"
    topic   = "metrics/cpu/load"
    payload = 0.5
  }

  expect {
    event   = "data.metrics.cpu.load"
    by      = "1s"
    payload = { message = 0.5 }
  }
}
