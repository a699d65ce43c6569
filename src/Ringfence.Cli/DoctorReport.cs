using System.Globalization;
using System.Text;
using System.Text.Json;
using Ringfence.Engine.Kvm;
using Ringfence.Host.Sandbox;
using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>`ringfence doctor`: what this host can do for guests, what is missing, and how to get it.</summary>
internal sealed record DoctorReport(
    string Kernel, string Vendor, string Processor, bool Vtx, bool Amdv, bool InsideVirtualMachine, bool? NestedGuests, string? DeviceMode, KvmReport Kvm,
    IReadOnlyDictionary<string, EngineSpeed> Speeds)
{
    private const int NameWidth = 26;

    public static DoctorReport Read()
    {
        (string vendor, string model, IReadOnlySet<string> flags) = HostFacts.Processor();
        KvmReport kvm = KvmReport.Read();
        string? mode = !OperatingSystem.IsWindows() && File.Exists(KvmReport.Device) ? Mode(File.GetUnixFileMode(KvmReport.Device)) : null;
        return new DoctorReport(
            HostFacts.KernelRelease(), vendor, model, flags.Contains("vmx"), flags.Contains("svm"), flags.Contains("hypervisor"),
            HostFacts.NestedGuests(HostFacts.KvmModule()), mode, kvm, EngineChoice.Measure());
    }

    /// <summary>What is missing, and how to get it: a line each.</summary>
    public IReadOnlyList<string> Advice
    {
        get
        {
            List<string> advice = [];
            if (Kvm.Problem is { } problem)
            {
                advice.Add(problem);
            }
            if (!Vtx && !Amdv)
            {
                advice.Add(InsideVirtualMachine
                    ? "no VT-x or AMD-V: this is a virtual machine; ask for nested virtualization where it is run"
                    : "no VT-x or AMD-V: turn it on in the firmware (\"Intel Virtualization Technology\", \"SVM mode\")");
            }
            if (Kvm is { Problem: null, RunsSupervisorNatively: false })
            {
                advice.Add($"KVM here is {Kvm.Module ?? "of an unknown kind"}: it runs user mode on the processor and emulates the rest; guests' systems are slow on it");
            }
            if (Kvm.Unasked.Count > 0)
            {
                advice.Add($"guests under KVM see {Kvm.Unasked.Count} features of the host that no processor model can take away");
            }
            return advice;
        }
    }

    public override string ToString()
    {
        StringBuilder text = new();
        Line(text, "kernel", Kernel);
        Line(text, "processor", $"{Processor} ({Vendor})");
        Line(text, "VT-x", YesOrNo(Vtx));
        Line(text, "AMD-V", YesOrNo(Amdv));
        Line(text, "inside a virtual machine", YesOrNo(InsideVirtualMachine));
        Line(text, "guests of guests", NestedGuests is { } nested ? YesOrNo(nested) : "unknown");
        Line(text, KvmReport.Device, DeviceMode ?? "not there");
        Line(text, "KVM can be used", YesOrNo(Kvm.Problem is null));
        Line(text, "KVM interface", Kvm.ApiVersion?.ToString(CultureInfo.InvariantCulture) ?? "unknown");
        Line(text, "KVM module", Kvm.Module ?? "none");
        Line(text, "nested paging", YesOrNo(Kvm.NestedPaging));
        if (Kvm.Capabilities.Count > 0)
        {
            Line(text, "capabilities", string.Join(' ', Kvm.Capabilities.Where(c => c.Value != 0).Select(c => c.Value == 1 ? c.Key : $"{c.Key}={c.Value}")));
            Line(text, "capabilities missing", string.Join(' ', Kvm.Capabilities.Where(c => c.Value == 0).Select(c => c.Key)) is { Length: > 0 } missing ? missing : "none");
        }
        Line(text, "sandbox", YesOrNo(ThreadSandbox.IsAvailable));
        foreach ((string engine, EngineSpeed speed) in Speeds)
        {
            Line(text, $"engine {engine}", EngineChoice.Describe(speed));
        }
        foreach (string advice in Advice)
        {
            text.Append(CultureInfo.InvariantCulture, $"! {advice}\n");
        }
        return text.ToString();
    }

    public string ToJson()
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter writer = new(stream, new JsonWriterOptions { Indented = true }))
        {
            Write(writer);
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    private static string Mode(UnixFileMode mode) => Convert.ToString((int)mode, 8).PadLeft(4, '0');

    private static string YesOrNo(bool value) => value ? "yes" : "no";

    private static void Line(StringBuilder text, string name, string value) => text.Append(name.PadRight(NameWidth)).Append(value).Append('\n');

    private void Write(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("kernel", Kernel);
        writer.WriteString("vendor", Vendor);
        writer.WriteString("processor", Processor);
        writer.WriteBoolean("vtx", Vtx);
        writer.WriteBoolean("amdv", Amdv);
        writer.WriteBoolean("insideVirtualMachine", InsideVirtualMachine);
        if (NestedGuests is { } nested)
        {
            writer.WriteBoolean("nestedGuests", nested);
        }
        else
        {
            writer.WriteNull("nestedGuests");
        }
        writer.WriteStartObject("kvm");
        writer.WriteString("device", KvmReport.Device);
        writer.WriteString("mode", DeviceMode);
        writer.WriteBoolean("usable", Kvm.Problem is null);
        writer.WriteString("problem", Kvm.Problem);
        if (Kvm.ApiVersion is { } version)
        {
            writer.WriteNumber("apiVersion", version);
        }
        writer.WriteString("module", Kvm.Module);
        writer.WriteBoolean("nestedPaging", Kvm.NestedPaging);
        writer.WriteBoolean("runsSupervisorNatively", Kvm.RunsSupervisorNatively);
        writer.WriteStartObject("capabilities");
        foreach ((string name, int value) in Kvm.Capabilities)
        {
            writer.WriteNumber(name, value);
        }
        writer.WriteEndObject();
        WriteList(writer, "unaskedFeatures", Kvm.Unasked);
        writer.WriteEndObject();
        writer.WriteBoolean("sandbox", ThreadSandbox.IsAvailable);
        writer.WriteStartObject("engines");
        foreach ((string engine, EngineSpeed speed) in Speeds)
        {
            writer.WriteStartObject(engine);
            writer.WriteNumber("supervisorMips", Math.Round(speed.Supervisor, 1));
            writer.WriteNumber("userMips", Math.Round(speed.User, 1));
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
        WriteList(writer, "advice", Advice);
        writer.WriteEndObject();
    }

    private static void WriteList(Utf8JsonWriter writer, string name, IEnumerable<string> values)
    {
        writer.WriteStartArray(name);
        foreach (string value in values)
        {
            writer.WriteStringValue(value);
        }
        writer.WriteEndArray();
    }
}
