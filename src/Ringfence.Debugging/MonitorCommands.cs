using System.Globalization;
using System.Text;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>What gdb's command `monitor` passes on: things about a processor that gdb has no commands for.</summary>
internal sealed class MonitorCommands(IDebugTarget target)
{
    private const string Help = """
        help               this text
        cr                 control registers, descriptor tables and segments of the selected processor
        translate ADDRESS  what a linear address (hexadecimal) means to the selected processor
        cpus               what each processor is doing

        """;

    /// <returns>What is to be shown: lines.</returns>
    public string Run(string line, int vcpu)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return words switch
        {
            [] or ["help"] => Help,
            ["cr"] => Registers(target.Read(vcpu)),
            ["translate", string address] => Translate(vcpu, address),
            ["cpus"] => Cpus(),
            _ => $"unknown command '{line}' (monitor help lists them)\n",
        };
    }

    private static string Registers(VcpuState s)
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"CR0={s.Cr0:x8} CR2={s.Cr2:x16} CR3={s.Cr3:x16} CR4={s.Cr4:x8} CR8={s.Apic.TaskPriority >> 4:x} EFER={s.Efer:x} XCR0={s.Fpu.Xcr0:x}\n");
        text.Append(CultureInfo.InvariantCulture, $"GDT={s.GdtBase:x16} limit={s.GdtLimit:x4}  IDT={s.IdtBase:x16} limit={s.IdtLimit:x4}\n");
        (string Name, SegmentState Value)[] segments =
            [("ES", s.Es), ("CS", s.Cs), ("SS", s.Ss), ("DS", s.Ds), ("FS", s.Fs), ("GS", s.Gs), ("LDT", s.Ldtr), ("TR", s.Tr)];
        foreach ((string name, SegmentState value) in segments)
        {
            text.Append(CultureInfo.InvariantCulture, $"{name,-3}={value.Selector:x4} base={value.Base:x16} limit={value.Limit:x8} attributes={value.Attributes:x5}\n");
        }
        text.Append(CultureInfo.InvariantCulture, $"DR0={s.Debug.Addresses[0]:x} DR1={s.Debug.Addresses[1]:x} DR2={s.Debug.Addresses[2]:x} DR3={s.Debug.Addresses[3]:x} DR6={s.Debug.Status:x} DR7={s.Debug.Control:x}\n");
        return text.ToString();
    }

    private string Translate(int vcpu, string address)
    {
        ReadOnlySpan<char> digits = address.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? address.AsSpan(2) : address;
        if (!ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong linear))
        {
            return $"'{address}' is no address\n";
        }
        return target.TryTranslate(vcpu, linear, out ulong physical)
            ? string.Create(CultureInfo.InvariantCulture, $"{linear:x16} is physical {physical:x}\n")
            : string.Create(CultureInfo.InvariantCulture, $"{linear:x16} is not mapped\n");
    }

    private string Cpus()
    {
        StringBuilder text = new();
        for (int i = 0; i < target.Vcpus; i++)
        {
            VcpuState state = target.Read(i);
            text.Append(CultureInfo.InvariantCulture, $"CPU {i}: {state.Events.Activity}, RIP={state.Rip:x} CR3={state.Cr3:x} RFLAGS={state.Rflags:x}\n");
        }
        return text.ToString();
    }
}
