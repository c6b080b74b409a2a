//! Upstream's feature gates of v1.36: which exist, what they are by default, and which cannot be changed.
//!
//! No feature here hangs on a gate; what this is for is that a command line or a configuration file of upstream's is
//! taken or refused as upstream takes or refuses it. Source: the reference "Feature Gates"; texts as upstream's.
use std::collections::BTreeMap;

/// On, for good.
const LOCKED: &str = "\
AggregatedDiscoveryRemoveBetaType AllowOverwriteTerminationGracePeriodSeconds APIServerTracing \
AnonymousAuthConfigurableEndpoints AnyVolumeDataSource AuthorizeNodeWithSelectors AuthorizeWithSelectors \
BtreeWatchCache ConsistentListFromCache CPUManagerPolicyOptions CRDValidationRatcheting CSIServiceAccountTokenSecrets \
CustomResourceFieldSelectors DisableAllocatorDualWrite DynamicResourceAllocation ExecProbeTimeout HonorPVReclaimPolicy \
ImageMaximumGCAge InPlacePodVerticalScaling JobBackoffLimitPerIndex JobManagedBy JobPodReplacementPolicy \
JobSuccessPolicy KubeletCgroupDriverFromCRI KubeletFineGrainedAuthz KubeletTracing LogarithmicScaleDown \
MatchLabelKeysInPodAffinity MultiCIDRServiceAllocator NFTablesProxyMode NodeInclusionPolicyInPodTopologySpread NodeSwap \
OrderedNamespaceDeletion PodLifecycleSleepAction PodLifecycleSleepActionAllowZero PodObservedGenerationTracking \
PodSchedulingReadiness PreferSameTrafficDistribution RecoverVolumeExpansionFailure RecursiveReadOnlyMounts \
RelaxedDNSSearchValidation RelaxedEnvironmentVariableValidation ResilientWatchCacheInitialization RetryGenerateName \
SchedulerQueueingHints SeparateTaintEvictionController ServiceAccountTokenJTI ServiceAccountTokenNodeBinding \
ServiceAccountTokenNodeBindingValidation ServiceAccountTokenPodNodeInfo SidecarContainers \
StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf StructuredAuthenticationConfiguration \
SupplementalGroupsPolicy SystemdWatchdog TopologyManagerPolicyOptions VolumeAttributesClass WinDSR WinOverlay";

const ON: &str = "\
AllowParsingUserUIDFromCertAuth APIResponseCompression APIServerIdentity AtomicFIFO \
AuthorizePodWebsocketUpgradeCreatePermission ClearingNominatedNodeNameAfterBinding ComponentFlagz ComponentStatusz \
ConstrainedImpersonation ContainerCheckpoint ContainerRestartRules ContextualLogging CPUManagerPolicyBetaOptions \
DeclarativeValidation DeclarativeValidationBeta DeploymentReplicaSetTerminatingReplicas DetectCacheInconsistency \
DisableCPUQuotaWithExclusiveCPUs DisableNodeKubeProxyVersion DRAAdminAccess DRAConsumableCapacity \
DRADeviceBindingConditions DRADeviceTaints DRAExtendedResource DRAPartitionableDevices DRAPrioritizedList \
DRAResourceClaimDeviceStatus DRAResourceClaimGranularStatusAuthorization DRASchedulerFilterTimeout EnvFiles \
ExtendWebSocketsToKubelet ExternalServiceAccountTokenSigner GracefulNodeShutdown GracefulNodeShutdownBasedOnPodPriority \
HostnameOverride HPAConfigurableTolerance ImageVolume InformerResourceVersion InOrderInformers \
InOrderInformersBatchProcess InPlacePodLevelResourcesVerticalScaling KubeletCrashLoopBackOffMax \
KubeletEnsureSecretPulledImages KubeletPSI KubeletPodResourcesDynamicResources KubeletPodResourcesGet \
KubeletPodResourcesListUseActivePods KubeletSeparateDiskGC KubeletServiceAccountTokenForCredentialProviders \
ListFromCacheSnapshot LoggingBetaOptions MatchLabelKeysInPodTopologySpread \
MatchLabelKeysInPodTopologySpreadSelectorMerge MutableCSINodeAllocatableCount MutablePodResourcesForSuspendedJobs \
MutableSchedulingDirectivesForSuspendedJobs MutatingAdmissionPolicy NodeDeclaredFeatures NodeLogQuery \
NominatedNodeNameForExpectation OpenAPIEnums OpportunisticBatching PodDeletionCost PodLevelResources \
PodReadyToStartContainersCondition PodTopologyLabelsAdmission PortForwardWebsockets PreventStaticPodAPIReferences \
ProcMountType RelaxedServiceNameValidation ReloadKubeletServerCertificateFile RemoteRequestHeaderUID \
ResourceHealthStatus ResourceHealthStatusMessage RestartAllContainersOnContainerExits RotateKubeletServerCertificate \
SchedulerAsyncAPICalls SchedulerAsyncPreemption SchedulerPopFromBackoffQ SELinuxChangePolicy \
SELinuxMountReadWriteOncePod ServiceAccountNodeAudienceRestriction SizeBasedListCostEstimate \
StaleControllerConsistencyDaemonSet StaleControllerConsistencyJob StaleControllerConsistencyReplicaSet \
StaleControllerConsistencyStatefulSet StatefulSetSemanticRevisionComparison StorageNamespaceIndex StorageVersionHash \
StrictIPCIDRValidation StructuredAuthenticationConfigurationEgressSelector \
StructuredAuthenticationConfigurationJWKSMetrics TokenRequestServiceAccountUIDValidation \
TopologyManagerPolicyBetaOptions TranslateStreamCloseWebsocketRequests UnauthenticatedHTTP2DOSMitigation \
UnknownVersionInteroperabilityProxy UnlockWhileProcessingFIFO UserNamespacesSupport \
WatchCacheInitializationPostStartHook WatchList WatchListClient WindowsGracefulNodeShutdown";

const OFF: &str = "\
AllAlpha AllBeta AllowDNSOnlyNodeCSR AllowInsecureKubeletCertificateSigningRequests AllowUnsafeMalformedObjectDeletion \
APIServingWithRoutine CBORServingAndStorage ChangeContainerStatusOnKubeletRestart ClientsAllowCBOR ClientsPreferCBOR \
CloudControllerManagerWatchBasedRoutesReconciliation CloudControllerManagerWebhook ClusterTrustBundle \
ClusterTrustBundleProjection ConcurrentWatchObjectDecode ContainerStopSignals \
ControllerManagerReleaseLeaderElectionLockOnExit CoordinatedLeaderElection CPUManagerPolicyAlphaOptions \
CRDObservedGenerationTracking CRIListStreaming CrossNamespaceVolumeDataSource CSIVolumeHealth CustomCPUCFSQuotaPeriod \
DeclarativeValidationTakeover DRADeviceTaintRules DRAListTypeAttributes DRANodeAllocatableResources \
DRAResourcePoolStatus DRAWorkloadResourceClaims EventedPLEG GangScheduling GenericWorkload GitRepoVolumeDriver \
HPAScaleToZero ImageVolumeWithDigest InPlacePodVerticalScalingAllocatedStatus InPlacePodVerticalScalingExclusiveCPUs \
InPlacePodVerticalScalingExclusiveMemory KMSv1 KubeletInUserNamespace KubeletRegistrationGetOnExistsOnly \
LocalStorageCapacityIsolationFSQuotaMonitoring LoggingAlphaOptions ManifestBasedAdmissionControlConfig \
MaxUnavailableStatefulSet MemoryQoS MutablePVNodeAffinity NativeHistograms PersistentVolumeClaimUnusedSinceTime \
PodAndContainerStatsFromCRI PodCertificateRequest PodLevelResourceManagers PodLogsQuerySplitStreams PodsAPI QOSReserved \
ReduceDefaultCrashLoopBackOffDecay RuntimeClassInImageCriApi SELinuxMount SeparateCacheWatchRPC ShardedListAndWatch \
StorageCapacityScoring StorageVersionAPI StorageVersionMigrator TaintTolerationComparisonOperators \
TopologyAwareWorkloadScheduling TopologyManagerPolicyAlphaOptions UserNamespacesHostNetworkSupport VolumeLimitScaling \
WatchFromStorageWithoutResourceVersion WindowsCPUAndMemoryAffinity WindowsHostNetwork WorkloadWithJob";

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

/// The default of a gate, and whether it is locked to it; `None` for names upstream does not know.
fn gate(name: &str) -> Option<(bool, bool)> {
    match name {
        _ if has(LOCKED, name) => Some((true, true)),
        _ if has(ON, name) => Some((true, false)),
        _ if has(OFF, name) => Some((false, false)),
        _ => None,
    }
}

/// Looks at gates as a configuration file has them; the names of those that are set away from their default, which
/// changes nothing here.
///
/// # Errors
/// One does not exist, or is locked; the text is upstream's.
pub fn check<'a>(gates: impl IntoIterator<Item = (&'a str, bool)>) -> Result<Vec<&'a str>, String> {
    let mut without_effect = Vec::new();
    for (name, value) in gates {
        match gate(name) {
            None => return Err(format!("unrecognized feature gate: {name}")),
            Some((default, true)) if default != value => {
                return Err(format!("cannot set feature gate {name} to {value}, feature is locked to {default}"));
            }
            Some((default, _)) if default != value => without_effect.push(name),
            Some(_) => {}
        }
    }
    Ok(without_effect)
}

/// As Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Reads `Name=true,kube:Other=false`, the value of `--feature-gates`; the last word on a gate counts.
///
/// # Errors
/// A pair is malformed; the text is upstream's.
pub fn parse(text: &str) -> Result<BTreeMap<String, bool>, String> {
    let mut gates = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let pair = pair.strip_prefix("kube:").unwrap_or(pair);
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("missing bool value for {pair}"))?;
        let (name, value) = (name.trim(), value.trim());
        let on = parse_bool(value).map_err(|error| format!("invalid value of {name}: {value}, err: {error}"))?;
        gates.insert(name.to_owned(), on);
    }
    Ok(gates)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(text: &str) -> Result<Vec<String>, String> {
        let gates = parse(text)?;
        let names = check(gates.iter().map(|(name, value)| (name.as_str(), *value)))?;
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn what_is_taken_and_what_is_refused() {
        assert_eq!(set("").unwrap(), Vec::<String>::new());
        assert_eq!(set("NodeSwap=true, kube:MemoryQoS=false,WatchList=t").unwrap(), Vec::<String>::new());
        assert_eq!(set("AllAlpha=true,WatchList=false").unwrap(), ["AllAlpha", "WatchList"]);
        for (text, why) in [
            ("NoSuchThing=true", "unrecognized feature gate: NoSuchThing"),
            ("NodeSwap=false", "cannot set feature gate NodeSwap to false, feature is locked to true"),
            ("NodeSwap", "missing bool value for NodeSwap"),
            (
                "NodeSwap=maybe",
                "invalid value of NodeSwap: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(set(text).unwrap_err(), why);
        }
    }

    #[test]
    fn each_gate_is_in_one_list() {
        let mut all: Vec<&str> = [LOCKED, ON, OFF].iter().flat_map(|list| list.split_whitespace()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(count > 200);
    }
}
