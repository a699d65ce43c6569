using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Port I/O and the right to it (SDM 1 19.5).</summary>
internal static unsafe class PortAccess
{
    /// <summary>Checks IOPL and the I/O permission bitmap. False: the fault is recorded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Allowed(CpuState* s, ushort port, int size) => s->Cpl == 0 || AllowedByLevelOrMap(s, port, size);

    private static bool AllowedByLevelOrMap(CpuState* s, ushort port, int size)
    {
        bool v86 = (s->SystemFlags & Flags.Virtual8086) != 0;
        if ((s->Cr0 & ControlBits.ProtectedMode) == 0 || (!v86 && s->Cpl <= (uint)(s->SystemFlags & Flags.Iopl) >> 12))
        {
            return true;
        }
        Processor processor = Processor.Of(s);
        if ((s->Tr.Attributes & 0xD) == 9 && s->Tr.Limit >= 103)
        {
            if (!processor.Mmu.ReadSystem(s->Tr.Base + 102, out ushort map))
            {
                return false;
            }
            uint at = map + ((uint)port >> 3);
            if (at + 1 <= s->Tr.Limit)
            {
                if (!processor.Mmu.ReadSystem(s->Tr.Base + at, out ushort bits))
                {
                    return false;
                }
                if (((bits >> (port & 7)) & ((1 << size) - 1)) == 0)
                {
                    return true;
                }
            }
        }
        Exits.Record(s, Vectors.GeneralProtection);
        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Read(CpuState* s, Op* o, ushort port, int size)
    {
        s->ExitIp = o->IpOffset;
        Processor processor = Processor.Of(s);
        uint value = processor.ReadPort(port, size);
        Watch(processor, port, size);
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(CpuState* s, Op* o, ushort port, int size, uint value)
    {
        s->ExitIp = o->IpOffset;
        Processor processor = Processor.Of(s);
        processor.WritePort(port, size, value);
        Watch(processor, port, size);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Watch(Processor processor, ushort port, int size)
    {
        if (processor.Debugging.HasPorts)
        {
            processor.Debugging.PortAccessed(port, size);
        }
    }
}
