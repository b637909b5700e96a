//! Caches and databases, as far as their replicas go. A change takes minutes, in which another is
//! refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Refusal, Service, Timer, page, unknown};
use crate::input::Input;
use crate::time;

/// Most replicas of a shard, and readers of a cluster.
const CACHE_REPLICAS_MAX: u32 = 5;
const READERS_MAX: usize = 15;
/// Most instances of databases that the account may have.
const DATABASES_MAX: u32 = 40;

/// State of ElastiCache and RDS.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    caches: BTreeMap<String, Cache>,
    clusters: BTreeMap<String, Value>,
    databases: BTreeMap<String, Database>,
    /// The writer of each cluster that failed over; of others it is the instance made first.
    writers: BTreeMap<String, String>,
}

impl Replicas {
    fn writer(&self, cluster: &str) -> Option<&String> {
        let within = |d: &Database| Input(&d.settings).text("DBClusterIdentifier");
        let members = self.databases.iter();
        let members = members.filter(|(_, d)| within(d).as_deref() == Some(cluster));
        let first = members.min_by_key(|(_, d)| d.created).map(|(id, _)| id);
        self.writers.get(cluster).filter(|id| self.databases.contains_key(*id)).or(first)
    }
}

#[derive(Debug)]
struct Cache {
    replicas: u32,
    wanted: u32,
    epoch: u64,
    description: String,
}

#[derive(Debug)]
struct Database {
    settings: Value,
    status: &'static str,
    created: u64,
    epoch: u64,
    tags: BTreeMap<String, String>,
}

/// A list whose elements have a name of their own in XML.
fn list(name: &str, elements: &[Value]) -> Value {
    json!({ "$list": [name, elements] })
}

fn no_database(id: &str) -> Refusal {
    Refusal::new(404, "DBInstanceNotFound", format!("DBInstance {id} not found."))
}

impl Aws {
    pub(crate) fn replicas_call(
        &mut self,
        service: Service,
        action: &str,
        input: Input<'_>,
    ) -> Answer {
        match (service, action) {
            (Service::ElastiCache, "CreateReplicationGroup") => self.create_cache(input),
            (Service::ElastiCache, "DescribeReplicationGroups") => self.describe_caches(input),
            (Service::ElastiCache, "IncreaseReplicaCount") => self.resize_cache(input, true),
            (Service::ElastiCache, "DecreaseReplicaCount") => self.resize_cache(input, false),
            (Service::Rds, "CreateDBCluster") => self.create_cluster(input),
            (Service::Rds, "DescribeDBClusters") => self.describe_clusters(input),
            (Service::Rds, "CreateDBInstance") => self.create_database(input),
            (Service::Rds, "DescribeDBInstances") => self.describe_databases(input),
            (Service::Rds, "DeleteDBInstance") => self.delete_database(input),
            (Service::Rds, "DescribeAccountAttributes") => {
                let used = self.replicas.databases.len();
                let quota = json!({
                    "AccountQuotaName": "DBInstances", "Used": used, "Max": DATABASES_MAX,
                });
                Ok(json!({ "AccountQuotas": list("AccountQuota", &[quota]) }))
            }
            _ => Err(unknown(action)),
        }
    }

    fn create_cache(&mut self, input: Input<'_>) -> Answer {
        let id = input.required("ReplicationGroupId")?;
        if self.replicas.caches.contains_key(&id) {
            let message = format!("Replication group {id} already exists.");
            return Err(Refusal::new(400, "ReplicationGroupAlreadyExists", message));
        }
        let nodes = input.count("NumCacheClusters")?.unwrap_or(1).max(1);
        let cache = Cache {
            replicas: nodes - 1,
            wanted: nodes - 1,
            epoch: 0,
            description: input.text("ReplicationGroupDescription").unwrap_or_default(),
        };
        let value = self.cache_value(&id, &cache);
        self.replicas.caches.insert(id, cache);
        Ok(json!({ "ReplicationGroup": value }))
    }

    fn cache_value(&self, id: &str, cache: &Cache) -> Value {
        let node = |n: u32| format!("{id}-{:03}", n + 1);
        let members: Vec<Value> = (0..=cache.replicas)
            .map(|n| {
                let role = if n == 0 { "primary" } else { "replica" };
                json!({ "CacheClusterId": node(n), "CacheNodeId": "0001", "CurrentRole": role })
            })
            .collect();
        let status = if cache.replicas == cache.wanted { "available" } else { "modifying" };
        let shard = json!({
            "NodeGroupId": "0001", "Status": status,
            "NodeGroupMembers": list("NodeGroupMember", &members),
        });
        let clusters = (0..=cache.replicas).map(|n| json!(node(n))).collect::<Vec<_>>();
        json!({
            "ReplicationGroupId": id,
            "ARN": self.arn("elasticache", &format!("replicationgroup:{id}")),
            "Description": cache.description,
            "Status": status,
            "ClusterEnabled": false,
            "MemberClusters": list("ClusterId", &clusters),
            "NodeGroups": list("NodeGroup", &[shard]),
        })
    }

    fn describe_caches(&self, input: Input<'_>) -> Answer {
        let wanted = input.text("ReplicationGroupId");
        if let Some(id) = wanted.as_ref().filter(|id| !self.replicas.caches.contains_key(*id)) {
            return Err(no_cache(id));
        }
        let meant = |id: &String| wanted.as_ref().is_none_or(|wanted| wanted == id);
        let all = self.replicas.caches.iter().filter(|(id, _)| meant(id));
        let all = all.map(|(id, cache)| self.cache_value(id, cache)).collect::<Vec<_>>();
        Ok(json!({ "ReplicationGroups": list("ReplicationGroup", &all) }))
    }

    fn resize_cache(&mut self, input: Input<'_>, up: bool) -> Answer {
        let id = input.required("ReplicationGroupId")?;
        let wanted = input.count("NewReplicaCount")?.unwrap_or(0);
        let (epoch, delay) = (self.number(), self.draw(self.config.replica_ms));
        let Some(cache) = self.replicas.caches.get_mut(&id) else { return Err(no_cache(&id)) };
        if cache.replicas != cache.wanted {
            let message = format!("Replication group {id} is not in available state.");
            return Err(Refusal::new(400, "InvalidReplicationGroupState", message));
        }
        if wanted > CACHE_REPLICAS_MAX
            || up != (wanted > cache.replicas)
            || wanted == cache.replicas
        {
            let message = format!(
                "The replica count {wanted} is not valid for a group with {}.",
                cache.replicas
            );
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        (cache.wanted, cache.epoch) = (wanted, epoch);
        self.after(delay, Timer::Replica { id: id.clone(), epoch });
        let Some(cache) = self.replicas.caches.get(&id) else { return Err(no_cache(&id)) };
        Ok(json!({ "ReplicationGroup": self.cache_value(&id, cache) }))
    }

    fn create_cluster(&mut self, input: Input<'_>) -> Answer {
        let id = input.required("DBClusterIdentifier")?;
        let arn = self.arn("rds", &format!("cluster:{id}"));
        let value = json!({
            "DBClusterIdentifier": id, "DBClusterArn": arn, "Status": "available",
            "Engine": input.text("Engine"),
        });
        self.replicas.clusters.insert(id, value.clone());
        Ok(json!({ "DBCluster": value }))
    }

    fn describe_clusters(&self, input: Input<'_>) -> Answer {
        let wanted = input.text("DBClusterIdentifier");
        if let Some(id) = wanted.as_ref().filter(|id| !self.replicas.clusters.contains_key(*id)) {
            let message = format!("DBCluster {id} not found.");
            return Err(Refusal::new(404, "DBClusterNotFoundFault", message));
        }
        let meant = |id: &String| wanted.as_ref().is_none_or(|wanted| wanted == id);
        let all = self.replicas.clusters.iter().filter(|(id, _)| meant(id));
        let all: Vec<Value> = all
            .map(|(id, cluster)| {
                let of = |d: &Database| Input(&d.settings).text("DBClusterIdentifier");
                let members = self.replicas.databases.iter();
                let members = members.filter(|(_, database)| of(database).as_ref() == Some(id));
                let writer = self.replicas.writer(id);
                let members: Vec<Value> = members
                    .map(|(member, _)| {
                        json!({
                            "DBInstanceIdentifier": member, "IsClusterWriter": Some(member) == writer,
                        })
                    })
                    .collect();
                let mut value = cluster.clone();
                value["DBClusterMembers"] = list("DBClusterMember", &members);
                value
            })
            .collect();
        Ok(json!({ "DBClusters": list("DBCluster", &all) }))
    }

    /// The cluster's writer fails, and this instance of it takes its place.
    pub fn fail_over(&mut self, cluster: &str, to: &str) {
        self.replicas.writers.insert(cluster.to_owned(), to.to_owned());
    }

    fn create_database(&mut self, input: Input<'_>) -> Answer {
        let id = input.required("DBInstanceIdentifier")?;
        if self.replicas.databases.contains_key(&id) {
            return Err(Refusal::new(400, "DBInstanceAlreadyExists", "DB instance already exists"));
        }
        let cluster = input.text("DBClusterIdentifier");
        if let Some(cluster) = &cluster {
            if !self.replicas.clusters.contains_key(cluster) {
                let message = format!("DBCluster {cluster} not found.");
                return Err(Refusal::new(404, "DBClusterNotFoundFault", message));
            }
            let within = |d: &&Database| {
                Input(&d.settings).text("DBClusterIdentifier").as_ref() == Some(cluster)
            };
            // A writer and its readers.
            if self.replicas.databases.values().filter(within).count() > READERS_MAX {
                let message = "The request would result in the user exceeding the allowed number of DB instances.";
                return Err(Refusal::new(400, "InstanceQuotaExceeded", message));
            }
        }
        let mut settings = json!({});
        for key in ["DBClusterIdentifier", "DBInstanceClass", "Engine", "AvailabilityZone"] {
            settings[key] = json!(input.text(key));
        }
        let (epoch, delay) = (self.number(), self.draw(self.config.replica_ms));
        let tags = input.get("Tags").tags("Tag");
        let database = Database { settings, status: "creating", created: self.now, epoch, tags };
        let value = self.database_value(&id, &database);
        self.replicas.databases.insert(id.clone(), database);
        self.after(delay, Timer::Replica { id, epoch });
        Ok(json!({ "DBInstance": value }))
    }

    fn database_value(&self, id: &str, database: &Database) -> Value {
        let tags = database.tags.iter();
        let tags: Vec<Value> =
            tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        let mut value = database.settings.clone();
        value["DBInstanceIdentifier"] = json!(id);
        value["DBInstanceArn"] = json!(self.arn("rds", &format!("db:{id}")));
        value["DBInstanceStatus"] = json!(database.status);
        value["InstanceCreateTime"] = time::value(database.created);
        value["TagList"] = list("Tag", &tags);
        value
    }

    fn describe_databases(&self, input: Input<'_>) -> Answer {
        let wanted = input.text("DBInstanceIdentifier");
        if let Some(id) = wanted.as_ref().filter(|id| !self.replicas.databases.contains_key(*id)) {
            return Err(no_database(id));
        }
        let mut all = Vec::new();
        for (id, database) in &self.replicas.databases {
            let mut meant = wanted.as_ref().is_none_or(|wanted| wanted == id);
            for filter in input.get("Filters").list("Filter") {
                let values = filter.get("Values").texts("Value");
                let held = match filter.text("Name").as_deref() {
                    Some("db-cluster-id") => Input(&database.settings).text("DBClusterIdentifier"),
                    Some("db-instance-id") => Some(id.clone()),
                    other => {
                        let message =
                            format!("Unrecognized filter name: {}", other.unwrap_or_default());
                        return Err(Refusal::new(400, "InvalidParameterValue", message));
                    }
                };
                meant &= held.is_some_and(|held| values.contains(&held));
            }
            if meant {
                all.push(self.database_value(id, database));
            }
        }
        let (found, next) = page(all, input.count("MaxRecords")?, input.text("Marker").as_deref())?;
        Ok(json!({ "DBInstances": list("DBInstance", &found), "Marker": next }))
    }

    fn delete_database(&mut self, input: Input<'_>) -> Answer {
        let id = input.required("DBInstanceIdentifier")?;
        let (epoch, delay) = (self.number(), self.draw(self.config.replica_ms));
        let database = self.replicas.databases.get_mut(&id).ok_or_else(|| no_database(&id))?;
        if database.status == "deleting" {
            let message = format!("Instance {id} is already being deleted.");
            return Err(Refusal::new(400, "InvalidDBInstanceState", message));
        }
        (database.status, database.epoch) = ("deleting", epoch);
        self.after(delay, Timer::Replica { id: id.clone(), epoch });
        let database = self.replicas.databases.get(&id).ok_or_else(|| no_database(&id))?;
        Ok(json!({ "DBInstance": self.database_value(&id, database) }))
    }

    /// A change of a cache or a database has come to its end. No two changes have the same epoch.
    pub(crate) fn replica_ready(&mut self, id: &str, epoch: u64) {
        if let Some(cache) = self.replicas.caches.get_mut(id).filter(|c| c.epoch == epoch) {
            cache.replicas = cache.wanted;
        }
        match self.replicas.databases.get_mut(id).filter(|d| d.epoch == epoch) {
            Some(database) if database.status == "creating" => database.status = "available",
            Some(_) => drop(self.replicas.databases.remove(id)),
            None => {}
        }
    }
}

fn no_cache(id: &str) -> Refusal {
    Refusal::new(404, "ReplicationGroupNotFoundFault", format!("ReplicationGroup {id} not found."))
}
