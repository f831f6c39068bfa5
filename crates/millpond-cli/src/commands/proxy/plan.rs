//! What a route is to be, whichever way it was said; and what can be told of it without opening a
//! socket.

use std::time::Duration;

use millpond::{
    Chain,
    client::{Client, ClientSettings, Pipelining, Script},
    connectors::{Ejection, StreamConnector, Upstream},
    framing::{Framing, Protocol},
    net::{Dialer, Endpoint, ListenOptions, tls::ClientTls},
    pool::{BuildError, PoolSettings, Shedding},
    proxy::{Mode, RawRoute, Route, RouteSettings, Users},
    server::ServerSettings,
};

use super::{arguments::Arguments, passing::Passing, place::Place, users};
use crate::{
    commands::{
        endpoint,
        listening::{certificates::Certificates, max_connections},
    },
    complaint::Complaint,
    descriptors,
    framing::{RAW, Spoken},
};

/// How much later than the route's own deadline the server gives a request up: the route then has
/// told its client why.
const LATER: Duration = Duration::from_secs(1);

/// One upstream.
#[derive(Clone)]
pub(super) struct To {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<ClientTls>,
    /// How many connections it may have, if not as many as the pool.
    pub(super) max_size: Option<u32>,
}

impl From<To> for Upstream {
    fn from(to: To) -> Self {
        let dialer = Dialer::new(to.endpoint);
        let upstream = Upstream::new(match to.tls {
            Some(tls) => dialer.tls(tls),
            None => dialer,
        });
        match to.max_size {
            Some(max_size) => upstream.max_size(max_size),
            None => upstream,
        }
    }
}

/// One route.
pub(super) struct Plan {
    /// `None` if it is the only one, from flags.
    pub(super) name: Option<String>,
    /// Where it is written, if that is a file.
    pub(super) place: Option<Place>,
    pub(super) listen: Endpoint,
    pub(super) certificates: Option<Certificates>,
    pub(super) demands_certificates: bool,
    pub(super) insecure_bind: bool,
    /// One at least.
    pub(super) upstreams: Vec<To>,
    pub(super) ejection: Ejection,
    pub(super) on_connect: Script,
    pub(super) probe: Script,
    /// `None`: bytes are passed on, in session mode. Of what is above, `on_connect` and `probe` are
    /// empty then; of what is below, `client` is of no account, and of `route` only `max_pin_age`
    /// counts.
    pub(super) protocol: Option<Protocol>,
    /// Who may log in, if the framing has users.
    pub(super) users: Option<Users>,
    /// The flag by which `call` speaks it.
    pub(super) framing_flag: String,
    pub(super) mode: Mode,
    pub(super) server: ServerSettings,
    pub(super) client: ClientSettings,
    pub(super) pool: PoolSettings,
    pub(super) route: RouteSettings,
}

impl Plan {
    /// The route that the flags say.
    pub(super) fn of_flags(arguments: &Arguments) -> Result<Plan, Complaint> {
        let listen = endpoint("--listen", arguments.listen.as_deref().unwrap_or_default())?;
        let upstreams = arguments.to.iter().map(|text| {
            let endpoint = endpoint("--to", text)?;
            let tls = arguments.upstream_tls.towards(&endpoint)?;
            Ok(To {
                endpoint,
                tls,
                max_size: None,
            })
        });
        let upstreams = upstreams.collect::<Result<_, Complaint>>()?;
        let spoken = arguments.framing.spoken_or_raw()?;
        if spoken.is_none() {
            arguments.check_raw(std::env::args_os())?;
        }
        let mode = match (arguments.mode, &spoken) {
            (_, None) => Mode::Session,
            (Some(mode), Some(_)) => mode.into(),
            (None, Some(_)) => Mode::Exchange,
        };
        if arguments.depth.is_some() && mode != Mode::Pipeline {
            return Err(Complaint::usage(
                "--depth is for --mode pipeline: in other modes a connection has one request under way",
            ));
        }
        let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
        let mut pool = PoolSettings::default();
        pool.max_size = arguments.max_size;
        pool.max_waiting = arguments.max_waiting;
        pool.acquire_timeout = Some(arguments.wait);
        pool.shed_waiting = arguments.shed.map(|target| Shedding {
            target,
            ..Shedding::default()
        });
        let mut client = ClientSettings::default();
        client.deadline = arguments.deadline;
        client.heartbeat_interval = arguments.heartbeat;
        let depth = |depth| Pipelining::default().depth(depth);
        client.pipelining = arguments.depth.map(depth);
        let mut route = RouteSettings::default();
        route.max_pins = arguments.max_pins;
        route.max_pin_age = match (arguments.max_pin_age, &spoken) {
            (Some(age), _) => unless_zero(age),
            (None, Some(_)) => route.max_pin_age,
            (None, None) => None,
        };
        let mut server = ServerSettings::default();
        let room = descriptors::room();
        let room = room.map(|room| room.saturating_sub(u64::from(arguments.max_size)));
        server.max_connections = max_connections(arguments.max_connections, room);
        let per_address = arguments.max_connections_per_address;
        server.max_connections_per_address = (per_address > 0).then_some(per_address);
        server.max_bytes = arguments.max_bytes.get();
        server.max_bytes_per_connection = arguments.max_bytes_per_connection.get();
        server.idle_timeout = unless_zero(arguments.idle_timeout);
        server.heartbeat_interval = arguments.heartbeat;
        server.handler_deadline = Some(arguments.deadline);
        // As many as have a place upstream, or may wait for one.
        let depth = arguments.depth.unwrap_or(match mode {
            Mode::Pipeline => 128,
            _ => 1,
        });
        let under_way = (arguments.max_size as usize).saturating_mul(depth);
        server.max_handled = under_way.saturating_add(arguments.max_waiting as usize);
        let plan = Plan {
            name: None,
            place: None,
            certificates: arguments.tls.certificates(&listen)?,
            demands_certificates: arguments.tls.demands_certificates(),
            insecure_bind: arguments.tls.insecure_bind,
            listen,
            upstreams,
            ejection: Ejection::default(),
            on_connect: Script::new(),
            probe: Script::new(),
            framing_flag: spoken.as_ref().map(Spoken::flag).unwrap_or_default(),
            protocol: spoken.map(|spoken| spoken.protocol),
            users: None,
            mode,
            server,
            client,
            pool,
            route,
        };
        plan.settled().map_err(Complaint::usage)
    }

    /// The plan, with what its mode means for its settings.
    pub(super) fn settled(mut self) -> Result<Plan, String> {
        if self.upstreams.iter().any(|to| to.endpoint == self.listen) {
            return Err(format!(
                "{} is where the route listens, and where it would pass requests on to: its own",
                self.listen
            ));
        }
        if users::lack_secrets(self.protocol.as_ref(), self.users.as_ref()) {
            return Err(String::from(users::TWICE));
        }
        if self.route.max_pin_age == Some(Duration::ZERO) {
            return Err(String::from(
                "route.max_pin_age_seconds is 0: every pin would end at once; write \"never\" for no limit",
            ));
        }
        if self.mode == Mode::Session && self.route.max_pins == Some(0) {
            return Err(String::from(
                "route.max_pins is 0, and in session mode every client has a pin: nobody would be served",
            ));
        }
        let times = [
            ("pause", Some(self.ejection.pause)),
            ("max_pause", Some(self.ejection.max_pause)),
            ("probe_interval", self.ejection.probe_interval),
            ("probe_timeout", Some(self.ejection.probe_timeout)),
        ];
        if let Some((key, _)) = times.iter().find(|(_, time)| *time == Some(Duration::ZERO)) {
            return Err(format!(
                "ejection.{key}_seconds is 0, and must be more: probes would follow each other without a pause, or have no time"
            ));
        }
        let upstreams = self.upstreams.len();
        self.protocol = self.protocol.map(|protocol| protocol.among(upstreams));
        self.route.session = self.mode == Mode::Session;
        self.client.pipelining = match self.mode {
            Mode::Pipeline => Some(self.client.pipelining.unwrap_or_default()),
            _ => None,
        };
        self.pool.name = self.pool.name.or_else(|| self.name.clone());
        if self.server.handler_deadline == Some(self.client.deadline) {
            self.server.handler_deadline = Some(self.client.deadline + LATER);
        }
        Ok(self)
    }

    /// The name of its framing.
    pub(super) fn framing(&self) -> &'static str {
        let protocol = self.protocol.as_ref();
        protocol.map_or(RAW, |protocol| protocol.preset().name)
    }

    /// How many upstream connections there may be: the pool's size for each of the framing's lanes.
    pub(super) fn upstream_connections(&self) -> u64 {
        let lanes = self.protocol.as_ref().map_or(1, Framing::lanes);
        u64::from(self.pool.max_size) * u64::from(lanes)
    }

    /// Where it leads to, for people.
    pub(super) fn to(&self) -> String {
        let endpoints = self.upstreams.iter().map(|to| to.endpoint.to_string());
        endpoints.collect::<Vec<_>>().join(", ")
    }

    /// The route, which has dialled nothing yet. Needs a runtime.
    pub(super) fn build(&self) -> Result<Passing, Complaint> {
        let wrong = |error: BuildError| self.complaint(&Chain(&error).to_string());
        let Some(protocol) = &self.protocol else {
            let pool = self.pool.clone();
            let route = RawRoute::to(self.streams())
                .pool(move |builder| builder.settings(pool))
                .max_pin_age(self.route.max_pin_age)
                .build();
            return route.map(Passing::Bytes).map_err(wrong);
        };
        let mut route = Route::builder(self.client(protocol, 0).map_err(wrong)?);
        for lane in 1..protocol.lanes() {
            route = route.lane(self.client(protocol, lane).map_err(wrong)?);
        }
        if let Some(users) = &self.users {
            route = route.users(users.clone());
        }
        let route = route.settings(self.route.clone()).build();
        Ok(Passing::Requests(route))
    }

    fn streams(&self) -> StreamConnector {
        StreamConnector::among(self.upstreams.clone()).ejection(self.ejection)
    }

    /// The client for one of the framing's lanes.
    fn client(&self, protocol: &Protocol, lane: u16) -> Result<Client<Protocol>, BuildError> {
        let mut pool = self.pool.clone();
        if lane > 0 {
            pool.name = pool.name.map(|name| format!("{name}, lane {lane}"));
        }
        Client::over(self.streams())
            .framing(protocol.clone())
            .on_connect(self.on_connect.clone())
            .probe(self.probe.clone())
            .settings(self.client.clone())
            .lane(lane)
            .pool(move |builder| builder.settings(pool))
            .build()
    }

    pub(super) fn listen_options(&self) -> ListenOptions {
        match &self.certificates {
            Some(Certificates { tls, .. }) => ListenOptions::default().tls(tls.clone()),
            None => ListenOptions::default(),
        }
    }

    /// What is wrong with it.
    pub(super) fn complaint(&self, text: &str) -> Complaint {
        let said = format!("{}{text}", self.prefix());
        Complaint::usage(match &self.place {
            Some(place) => place.point(&said),
            None => said,
        })
    }

    /// The route's name before what is told of it, if it has one.
    pub(super) fn prefix(&self) -> String {
        prefix(self.name.as_deref())
    }
}

/// `route orders: `, or nothing.
pub(super) fn prefix(name: Option<&str>) -> String {
    name.map(|name| format!("route {name}: "))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(mode: Mode) -> Plan {
        Plan {
            name: Some(String::from("orders")),
            place: None,
            listen: "127.0.0.1:0".parse().expect("an endpoint"),
            certificates: None,
            demands_certificates: false,
            insecure_bind: false,
            upstreams: vec![To {
                endpoint: "127.0.0.1:1".parse().expect("an endpoint"),
                tls: None,
                max_size: None,
            }],
            ejection: Ejection::default(),
            on_connect: Script::new(),
            probe: Script::new(),
            protocol: Protocol::named("length-json").ok(),
            users: None,
            framing_flag: String::new(),
            mode,
            server: ServerSettings::default(),
            client: ClientSettings::default(),
            pool: PoolSettings::default(),
            route: RouteSettings::default(),
        }
    }

    #[tokio::test]
    async fn a_mode_makes_a_route_of_that_mode() {
        for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
            let plan = plan(mode).settled().expect("a plan");
            let Ok(Passing::Requests(route)) = plan.build() else {
                panic!("a route of requests");
            };
            assert_eq!(route.mode(), mode);
        }
    }

    #[tokio::test]
    async fn without_a_framing_bytes_are_passed_on() {
        let mut plan = plan(Mode::Session);
        plan.protocol = None;
        let plan = plan.settled().expect("a plan");
        assert_eq!(plan.framing(), "raw");
        assert!(matches!(plan.build(), Ok(Passing::Bytes(_))));
    }

    #[test]
    fn the_route_tells_its_clients_before_the_server_gives_up() {
        let plan = plan(Mode::Exchange).settled().expect("a plan");
        assert!(plan.server.handler_deadline > Some(plan.client.deadline));
    }

    #[test]
    fn a_route_to_itself_is_refused() {
        let mut plan = plan(Mode::Exchange);
        plan.listen = plan.upstreams[0].endpoint.clone();
        assert!(plan.settled().is_err());
    }
}
