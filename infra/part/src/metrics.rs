//! `/metrics`: the load report in the Prometheus text exposition format 0.0.4.
//!
//! The numbers are those of `/v1/load`, so the two can never disagree.

use std::fmt::Write as _;

use spillway_model::histogram;
use spillway_model::load::{Load, RouteLoad};

/// Renders a load report.
#[must_use]
pub fn render(load: &Load) -> String {
    let mut out = Exposition { text: String::with_capacity(4096), load };
    #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are doubles")]
    let f = |n: u64| n as f64;
    out.family("spillway_plan_generation", "gauge", "Generation of the plan acted on.");
    out.sample("spillway_plan_generation", "", f(load.generation));
    out.family("spillway_cpu_seconds_total", "counter", "User and system CPU seconds.");
    out.sample("spillway_cpu_seconds_total", "", load.cpu_secs);
    routes(&mut out);
    if let Some(uplink) = &load.uplink {
        let rows = [
            ("spillway_uplink_bytes_total", "counter", "Bytes that left the site.", uplink.bytes),
            ("spillway_uplink_drops_total", "counter", "Segments dropped.", uplink.drops),
            ("spillway_uplink_resets_total", "counter", "Connections given up.", uplink.resets),
            ("spillway_uplink_queued_bytes", "gauge", "Bytes waiting.", uplink.queued_bytes),
            ("spillway_connections", "gauge", "Connections open.", uplink.connections),
        ];
        out.rows(rows.map(|(name, kind, help, n)| (name, kind, help, f(n))));
    }
    if let Some(functions) = &load.functions {
        let rows = [
            (
                "spillway_invocations_total",
                "counter",
                "Invocations ended.",
                f(functions.invocations),
            ),
            (
                "spillway_invocation_seconds_total",
                "counter",
                "Wall time of invocations.",
                f(functions.duration_us) / 1e6,
            ),
            (
                "spillway_environments_started_total",
                "counter",
                "Environments started.",
                f(functions.started),
            ),
            ("spillway_throttled_total", "counter", "Requests refused.", f(functions.throttled)),
            ("spillway_environments", "gauge", "Environments alive.", f(functions.environments)),
            ("spillway_environments_busy", "gauge", "Environments at work.", f(functions.busy)),
        ];
        out.rows(rows);
    }
    if let Some(dns) = &load.dns {
        let rows = [
            ("spillway_dns_queries_total", "counter", "Queries.", dns.queries),
            (
                "spillway_dns_to_site_total",
                "counter",
                "Steered answers naming a site.",
                dns.to_site,
            ),
            (
                "spillway_dns_to_cloud_total",
                "counter",
                "Steered answers naming the cloud.",
                dns.to_cloud,
            ),
            (
                "spillway_dns_malformed_total",
                "counter",
                "Packets that were no query.",
                dns.malformed,
            ),
        ];
        out.rows(rows.map(|(name, kind, help, n)| (name, kind, help, f(n))));
    }
    if !load.visitors.is_empty() {
        let help = "Requests of clients of another site, which this one helps.";
        out.family("spillway_visitors_total", "counter", help);
        for (site, routes) in &load.visitors {
            let arrivals: u64 = routes.values().map(|route| route.arrivals).sum();
            out.sample("spillway_visitors_total", &format!("home=\"{site}\""), f(arrivals));
        }
    }
    if !load.upstreams.is_empty() {
        out.family("spillway_upstream_healthy", "gauge", "Whether the health check passes.");
        for (name, upstream) in &load.upstreams {
            let label = format!("upstream=\"{}\"", escape(name));
            out.sample("spillway_upstream_healthy", &label, f64::from(u8::from(upstream.healthy)));
        }
        out.family("spillway_upstream_failures_total", "counter", "Attempts that failed.");
        for (name, upstream) in &load.upstreams {
            let label = format!("upstream=\"{}\"", escape(name));
            out.sample("spillway_upstream_failures_total", &label, f(upstream.failures));
        }
    }
    out.text
}

fn routes(out: &mut Exposition<'_>) {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are doubles")]
    let f = |n: u64| n as f64;
    if out.load.routes.is_empty() {
        return;
    }
    type Outcome = (&'static str, fn(&RouteLoad) -> u64);
    let outcomes: [Outcome; 5] = [
        ("served", |r| r.served),
        ("redirected", |r| r.redirected),
        ("proxied", |r| r.proxied),
        ("shed", |r| r.shed),
        ("failed", |r| r.failed),
    ];
    let load = out.load;
    out.family("spillway_requests_total", "counter", "Requests by route and outcome.");
    for (id, route) in &load.routes {
        for (outcome, count) in outcomes {
            let labels = format!("route=\"{id}\",outcome=\"{outcome}\"");
            out.sample("spillway_requests_total", &labels, f(count(route)));
        }
    }
    out.family("spillway_arrivals_total", "counter", "Requests that arrived.");
    for (id, route) in &load.routes {
        out.sample("spillway_arrivals_total", &format!("route=\"{id}\""), f(route.arrivals));
    }
    out.family(
        "spillway_displaced_total",
        "counter",
        "Requests moved to the cloud because nothing at home could serve them.",
    );
    for (id, route) in &load.routes {
        out.sample("spillway_displaced_total", &format!("route=\"{id}\""), f(route.displaced));
    }
    out.family("spillway_response_bytes_total", "counter", "Bytes of answers, heads included.");
    for (id, route) in &load.routes {
        out.sample(
            "spillway_response_bytes_total",
            &format!("route=\"{id}\""),
            f(route.response_bytes),
        );
    }
    out.family(
        "spillway_latency_seconds",
        "histogram",
        "Time to the answer's head, served requests.",
    );
    for (id, route) in &load.routes {
        let mut below = 0;
        for (index, count) in route.latency.iter().enumerate() {
            below += count;
            // One edge an octave is enough for a graph; /v1/load has the finer ones, of all routes.
            if index % 8 == 0 {
                let le = f(histogram::upper_us(index)) / 1e6;
                out.sample(
                    "spillway_latency_seconds_bucket",
                    &format!("route=\"{id}\",le=\"{le}\""),
                    f(below),
                );
            }
        }
        out.sample(
            "spillway_latency_seconds_bucket",
            &format!("route=\"{id}\",le=\"+Inf\""),
            f(below),
        );
        out.sample("spillway_latency_seconds_count", &format!("route=\"{id}\""), f(below));
    }
}

struct Exposition<'a> {
    text: String,
    load: &'a Load,
}

impl Exposition<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let instance = escape(&self.load.name);
        let _ = writeln!(self.text, "{name}{{instance=\"{instance}\"{comma}{labels}}} {value}");
    }

    fn rows<const N: usize>(&mut self, rows: [(&str, &str, &str, f64); N]) {
        for (name, kind, help, value) in rows {
            self.family(name, kind, help);
            self.sample(name, "", value);
        }
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
