using System.Numerics;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>
/// Hyper-V's hypercalls (TLFS, Hypercall Interface). Guests call a page whose code is the hypervisor's choice; ours writes to a port that no device has, which comes out of guest code on
/// every engine, where VMCALL would go to a kernel's own handler.
/// </summary>
internal static unsafe class HyperVHypercalls
{
    /// <summary>4 bytes at once; nothing of a PC is there.</summary>
    public const ushort Port = 0x5C;

    /// <summary>OUT Port, EAX; RET.</summary>
    public static ReadOnlySpan<byte> Code => [0xE7, (byte)Port, 0xC3];

    private const ulong Fast = 1 << 16;
    private const ulong Reserved = 0xF000_F000_F800_0000;
    private const ulong RepetitionsAndStart = 0x0FFF_0FFF_0000_0000;
    private const ushort LongSpinWait = 0x08;
    private const ushort ClusterInterrupt = 0x0B;
    private const ushort ClusterInterruptEx = 0x15;
    private const ushort PostMessage = 0x5C;
    private const ushort SignalEvent = 0x5D;
    private const int FirstLegalVector = 16;
    private const ulong AllProcessors = 1;
    private const int BankBits = 64;

    private enum Status : ushort
    {
        Success = 0,
        InvalidCode = 2,
        InvalidInput = 3,
        InvalidAlignment = 4,
        InvalidParameter = 5,
        InvalidConnection = 0x12,
    }

    /// <summary>Does what the registers say, and leaves the result in them (TLFS, Hypercall Interface).</summary>
    public static void Call(Processor processor)
    {
        CpuState* s = processor.State;
        ulong* gpr = s->Gpr;
        if ((s->Efer & ControlBits.LongModeActive) != 0 && s->Cs.Is(SegmentAttributes.Long))
        {
            gpr[0] = (ulong)Call(processor, gpr[1], gpr[2], gpr[8]);
            return;
        }
        ulong status = (ulong)Call(processor, Pair(gpr[2], gpr[0]), Pair(gpr[3], gpr[1]), Pair(gpr[7], gpr[6]));
        gpr[0] = (uint)status;
        gpr[2] = 0;
    }

    private static ulong Pair(ulong high, ulong low) => (high << 32) | (uint)low;

    /// <param name="input">The input value: call code, and how parameters are given.</param>
    /// <param name="first">Of a fast call, parameters themselves; otherwise where those in and those out are.</param>
    private static Status Call(Processor processor, ulong input, ulong first, ulong second)
    {
        bool fast = (input & Fast) != 0;
        int variable = (int)(input >> 17) & 0x3FF;
        // None that repeats is among these.
        bool plain = (input & (Reserved | RepetitionsAndStart)) == 0;
        switch ((ushort)input)
        {
            case LongSpinWait:
                if (plain && variable == 0)
                {
                    Thread.Yield();
                    return Status.Success;
                }
                return Status.InvalidInput;
            case ClusterInterrupt:
                return plain && variable == 0 ? SendInterrupt(processor, fast, first, second) : Status.InvalidInput;
            case ClusterInterruptEx:
                return plain && !fast ? SendInterruptEx(processor, first, variable) : Status.InvalidInput;
            // There is no port that a message or event could go to.
            case PostMessage or SignalEvent:
                return plain && variable == 0 ? Status.InvalidConnection : Status.InvalidInput;
            default:
                return Status.InvalidCode;
        }
    }

    /// <summary>HvCallSendSyntheticClusterIpi (TLFS, Virtual Interrupts): vector and a mask of 64 processors.</summary>
    private static Status SendInterrupt(Processor processor, bool fast, ulong first, ulong second)
    {
        const int Size = 16;
        if (!fast)
        {
            if (Parameters(processor, first, Size, out ulong* parameters) is var status and not Status.Success)
            {
                return status;
            }
            (first, second) = (parameters[0], parameters[1]);
        }
        return Send(processor, first, second);
    }

    /// <summary>HvCallSendSyntheticClusterIpiEx (TLFS, Virtual Interrupts): vector and a set in banks of 64 processors.</summary>
    /// <param name="banks">How many follow.</param>
    private static Status SendInterruptEx(Processor processor, ulong address, int banks)
    {
        const int Fixed = 24;
        if (Parameters(processor, address, Fixed + (banks * sizeof(ulong)), out ulong* parameters) is var status and not Status.Success)
        {
            return status;
        }
        ulong valid = parameters[2];
        if (parameters[1] > AllProcessors)
        {
            return Status.InvalidParameter;
        }
        if (parameters[1] == AllProcessors)
        {
            return Send(processor, parameters[0], ulong.MaxValue);
        }
        if (BitOperations.PopCount(valid) != banks)
        {
            return Status.InvalidInput;
        }
        // There are no processors beyond the first bank.
        return Send(processor, parameters[0], (valid & 1) != 0 ? parameters[3] : 0);
    }

    private static Status Send(Processor processor, ulong vector, ulong mask)
    {
        // The target's trust level, which there is one of, and reserved bytes are above the vector.
        if (vector is < FirstLegalVector or > byte.MaxValue)
        {
            return Status.InvalidParameter;
        }
        ReadOnlySpan<Processor> processors = processor.Platform.Processors;
        for (int i = 0; i < Math.Min(processors.Length, BankBits); i++)
        {
            if ((mask & (1UL << i)) != 0)
            {
                processors[i].Apic.Accept((byte)vector, false);
            }
        }
        return Status.Success;
    }

    /// <summary>Parameters in memory: aligned, and within a page (TLFS, Hypercall Interface).</summary>
    private static Status Parameters(Processor processor, ulong address, int size, out ulong* parameters)
    {
        const ulong InPage = 0xFFF;
        parameters = null;
        if ((address & 7) != 0 || (address & InPage) + (ulong)size > InPage + 1)
        {
            return Status.InvalidAlignment;
        }
        parameters = (ulong*)processor.Platform.Locate(address, size);
        return parameters == null ? Status.InvalidParameter : Status.Success;
    }
}
