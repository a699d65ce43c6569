using Ringfence.Cpu.Stops;

namespace Ringfence.Engine.Software;

/// <summary>Between what a debugger asks of an engine and what a processor stops at.</summary>
internal static class StopConversion
{
    public static StopPoint To(DebugPoint point) => new((StopPointKind)point.Kind, point.Address, point.Length);

    public static DebugStop From(StopReport report) => report.Reason switch
    {
        StopReason.Execute => new DebugStop(DebugStopKind.Breakpoint, From(report.Point)),
        StopReason.Data => new DebugStop(DebugStopKind.Watchpoint, From(report.Point)),
        _ => new DebugStop(DebugStopKind.Step),
    };

    /// <summary>Both enumerations list the kinds in the same order.</summary>
    private static DebugPoint From(StopPoint point) => new((DebugPointKind)point.Kind, point.Linear, point.Length);
}
