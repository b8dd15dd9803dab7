# MQTT to HTTP: each message of a broker becomes a request to a web service, and none is lost.
#
# Needs an MQTT broker on this machine, such as Mosquitto. The web service has a stand-in. Each command in a terminal of
# its own:
#
#   nemo-bridge mock sensors.hcl
#   nemo-bridge run sensors.hcl
#   nemo-bridge emit integration.broker.publish '{"topic": "sensors/hall", "message": {"celsius": 21.5}, "qos": 1}'

variable "broker_url" {
  env     = "BROKER_URL" # mqtts://… for TLS
  default = "mqtt://127.0.0.1:1883"
}

variable "api_url" {
  env     = "API_URL"
  default = "http://127.0.0.1:8080"
}

integration "broker" {
  type = "mqtt"

  endpoint {
    url = var.broker_url
  }

  # The broker keeps what is published while the bridge is away. The client id must be unique at the broker.
  config {
    client_id      = "nemo-bridge-sensors"
    clean_start    = false
    session_expiry = "12h"
  }
}

integration "api" {
  type = "http"

  endpoint {
    url = "${var.api_url}/api"
  }

  # auth {
  #   type  = "bearer"
  #   token = env.API_TOKEN
  # }

  config {
    # A reading may arrive twice, with the same header Idempotency-Key. Without this line, a request whose answer is
    # lost is not sent again, but kept as a dead letter.
    idempotent = ["POST /readings"]
  }
}

# Messages below sensors/ become the event sensor.read.
subscription "readings" {
  integration = "broker"
  topic       = "sensors/#"
  emit        = "sensor.read"
}

# sensor.read → POST /readings. The reading is kept on disk until the service has taken it, however long that takes;
# the readings of each sensor stay in order.
route "readings" {
  on          = ["sensor.read"]
  integration = "api"
  operation   = "request"
  method      = "POST /readings"
  params = {
    body = {
      sensor = event.payload.topic
      value  = event.payload.message
    }
  }
  delivery = "at_least_once"
  key      = event.payload.topic
}

# Tests, which need no broker, no service and no bus: nemo-bridge test sensors.hcl
test "a reading is posted" {
  step { # a message of the broker
    message = "readings"
    topic   = "sensors/hall"
    payload = { celsius = 21.5 }
  }

  expect {
    call   = "api"
    method = "POST /readings"
    params = { body = { sensor = "sensors/hall", value = { celsius = 21.5 } } }
    times  = 1
  }
}

test "a reading whose answer is lost is posted again" {
  remote "api" {
    answers = [{ error = "timeout" }, { result = { status = 201 } }] # in order; the last one repeats
  }

  step {
    message = "readings"
    topic   = "sensors/hall"
    payload = { celsius = 21.5 }
  }

  expect {
    call  = "api"
    times = 2
  }
}
