using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Small instructions about the processor's state, and the XSAVE family.</summary>
internal sealed unsafe partial class Binder
{
    private bool BindState(in Instruction i, Op* op, ref bool ends)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Rdrand or Mnemonic.Rdseed: op->Handler = Pick.Width<RandomInto>(i.Op0Register.GetSize()); return true;
            case Mnemonic.Rdpid: op->Handler = &StateInstructions.Rdpid; return true;
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase:
                op->Extra = i.Mnemonic == Mnemonic.Rdgsbase ? (byte)1 : (byte)0;
                op->Handler = i.Op0Register.IsGPR64() ? &StateInstructions.ReadBase<ulong> : &StateInstructions.ReadBase<uint>;
                return true;
            case Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
                op->Extra = i.Mnemonic == Mnemonic.Wrgsbase ? (byte)1 : (byte)0;
                op->Handler = i.Op0Register.IsGPR64() ? &StateInstructions.WriteBase<ulong> : &StateInstructions.WriteBase<uint>;
                return true;
            case Mnemonic.Rdpmc: op->Handler = &StateInstructions.Rdpmc; return true;
            case Mnemonic.Clzero:
                SetAccumulatorAddress(in i, op, i.Code switch { Code.Clzerow => 2, Code.Clzerod => 4, _ => 8 });
                op->Handler = &StateInstructions.Clzero;
                return true;
            case Mnemonic.Monitor:
                SetAccumulatorAddress(in i, op, i.Code switch { Code.Monitorw => 2, Code.Monitord => 4, _ => 8 });
                op->Handler = &StateInstructions.Monitor;
                return true;
            case Mnemonic.Mwait: op->Handler = &StateInstructions.Mwait; ends = true; return true;
        }
        return false;
    }

    /// <summary>A memory operand whose address is rAX, in DS unless a prefix says otherwise.</summary>
    private void SetAccumulatorAddress(in Instruction i, Op* op, int addressSize)
    {
        op->Base = Slots.Rax;
        op->AddressMask = addressSize switch
        {
            2 => ushort.MaxValue,
            4 => uint.MaxValue,
            _ => ulong.MaxValue,
        };
        op->Segment = SegmentSlot(i.AccumulatorSegment());
    }
}

internal readonly unsafe struct RandomInto : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &StateInstructions.Random<T>;
}
