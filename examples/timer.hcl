# Ticks: each is an event {"scheduled_at": <Unix ms>, "missed": <n>} in the message.
integration "clock" {
  type = "timer"

  config {
    schedule "poll" {
      every       = "10s"
      jitter      = "2s"
      immediately = true
    }

    # minute hour day month weekday; 03:00 in Berlin, summer and winter
    schedule "nightly" {
      cron      = "0 3 * * *"
      time_zone = "Europe/Berlin"
    }
  }
}

subscription "poll" {
  integration = "clock"
  topic       = "poll"            # a schedule's name, or "*" for all of them
  emit        = "timer.poll"
}

subscription "nightly" {
  integration = "clock"
  topic       = "nightly"
  emit        = "timer.nightly"
}
