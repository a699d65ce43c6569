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
            case Mnemonic.Xgetbv: op->Handler = &ExtendedState.Xgetbv; return true;
            case Mnemonic.Xsetbv: op->Handler = &ExtendedState.Xsetbv; ends = true; return true;
            case Mnemonic.Xsave or Mnemonic.Xsave64: return BindExtended(op, &ExtendedState.Save, 0, i.Mnemonic == Mnemonic.Xsave64);
            case Mnemonic.Xsaveopt or Mnemonic.Xsaveopt64:
                return BindExtended(op, &ExtendedState.Save, ExtendedState.Optimizes, i.Mnemonic == Mnemonic.Xsaveopt64);
            case Mnemonic.Xsavec or Mnemonic.Xsavec64:
                return BindExtended(op, &ExtendedState.Save, ExtendedState.Compacts, i.Mnemonic == Mnemonic.Xsavec64);
            case Mnemonic.Xsaves or Mnemonic.Xsaves64:
                return BindExtended(op, &ExtendedState.Save, ExtendedState.Compacts | ExtendedState.IsSupervisor, i.Mnemonic == Mnemonic.Xsaves64);
            case Mnemonic.Xrstor or Mnemonic.Xrstor64: return BindExtended(op, &ExtendedState.Restore, 0, i.Mnemonic == Mnemonic.Xrstor64);
            case Mnemonic.Xrstors or Mnemonic.Xrstors64:
                return BindExtended(op, &ExtendedState.Restore, ExtendedState.IsSupervisor, i.Mnemonic == Mnemonic.Xrstors64);
            case Mnemonic.Mwait: op->Handler = &StateInstructions.Mwait; ends = true; return true;
        }
        return false;
    }

    private static bool BindExtended(Op* op, delegate*<CpuState*, Op*, Op*> handler, byte how, bool wide)
    {
        op->Extra = (byte)(how | (wide ? ExtendedState.IsWide : 0));
        op->Handler = handler;
        return true;
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
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &StateInstructions.Random<T>;
}
