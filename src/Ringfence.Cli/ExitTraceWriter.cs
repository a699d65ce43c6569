using System.Globalization;
using Ringfence.Engine;

namespace Ringfence.Cli;

/// <summary>Writes a line for each exit: CPU, RIP, kind, address, value. Lines of several vCPUs do not mix.</summary>
internal sealed class ExitTraceWriter(TextWriter output) : IExitTrace
{
    private readonly Lock _lock = new();

    public void Exit(int vcpu, ulong rip, string kind, ulong address, ulong value)
    {
        lock (_lock)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{vcpu} {rip:x16} {kind} {address:x} {value:x}"));
        }
    }
}
