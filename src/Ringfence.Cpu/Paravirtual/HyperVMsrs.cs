namespace Ringfence.Cpu.Paravirtual;

/// <summary>Numbers of Hyper-V's model-specific registers (TLFS, Feature and Interface Discovery), those that there are.</summary>
internal static class HyperVMsrs
{
    public const uint First = 0x4000_0000;
    public const uint Last = 0x4000_01FF;

    public const uint GuestOsId = 0x4000_0000;
    public const uint Hypercall = 0x4000_0001;
    public const uint VpIndex = 0x4000_0002;
    public const uint Reset = 0x4000_0003;
    public const uint VpRuntime = 0x4000_0010;
    public const uint ReferenceCount = 0x4000_0020;
    public const uint ReferenceTsc = 0x4000_0021;
    public const uint TscFrequency = 0x4000_0022;
    public const uint ApicFrequency = 0x4000_0023;
    public const uint EndOfInterrupt = 0x4000_0070;
    public const uint InterruptCommand = 0x4000_0071;
    public const uint TaskPriority = 0x4000_0072;
    public const uint AssistPage = 0x4000_0073;
    public const uint SynicControl = 0x4000_0080;
    public const uint SynicVersion = 0x4000_0081;
    public const uint EventPage = 0x4000_0082;
    public const uint MessagePage = 0x4000_0083;
    public const uint EndOfMessage = 0x4000_0084;
    public const uint FirstSource = 0x4000_0090;
    public const uint LastSource = 0x4000_009F;
    public const uint FirstTimer = 0x4000_00B0;
    public const uint LastTimer = 0x4000_00B7;
    public const uint FirstCrashParameter = 0x4000_0100;
    public const uint LastCrashParameter = 0x4000_0104;
    public const uint CrashControl = 0x4000_0105;
}
