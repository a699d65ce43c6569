using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;

namespace Ringfence.Cpu.Translator;

/// <summary>Fills the ops of instructions that are passed on: says them again for the host, and finds out what of memory they touch.</summary>
internal sealed unsafe class PassedOnBinder
{
    private readonly CodeBuffer _buffer = new();
    private readonly Encoder _encoder;

    public PassedOnBinder() => _encoder = Encoder.Create(64, _buffer);

    public void Bind(in Instruction instruction, Op* op, PassedOnInstruction* to)
    {
        to->Mask = instruction.OpMask == Register.None ? (byte)0 : (byte)instruction.OpMask.GetNumber();
        if (instruction.IsVsib)
        {
            BindElements(in instruction, op, to);
            return;
        }
        Instruction said = instruction;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                SetMemory(in instruction, i, to);
                said.MemoryBase = Register.R15;
                said.MemoryIndex = Register.None;
                said.MemoryIndexScale = 1;
                said.SegmentPrefix = Register.None;
                said.MemoryDisplSize = 8;
                said.MemoryDisplacement64 = (ulong)(StateOffsets.Operand - Host.StateBias);
            }
            else if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR())
            {
                Register register = instruction.GetOpRegister(i);
                to->Register = Slots.Of(register);
                to->Traits |= i == 0 ? PassedOnTraits.WritesRegister : PassedOnTraits.ReadsRegister;
                said.SetOpRegister(i, register.IsGPR64() ? Register.RAX : Register.EAX);
            }
        }
        to->Traits |= instruction.RflagsModified != RflagsBits.None ? PassedOnTraits.WritesFlags : 0;
        _buffer.Count = 0;
        _encoder.Encode(in said, 0);
        _buffer.Bytes.AsSpan(0, _buffer.Count).CopyTo(new Span<byte>(to->Code, PassedOnInstruction.MaximumCode));
        to->CodeBytes = (byte)_buffer.Count;
        op->Handler = &PassedOnHandlers.Run;
    }

    private static void SetMemory(in Instruction instruction, int operand, PassedOnInstruction* to)
    {
        OpCodeInfo info = instruction.Code.ToOpCode();
        bool store = operand == 0;
        to->Traits |= store ? PassedOnTraits.Stores : PassedOnTraits.Loads;
        to->Bytes = (byte)instruction.MemorySize.GetSize();
        if (FaultSuppression.MustBeAligned(instruction.Mnemonic) && to->Bytes >= FaultSuppression.LeastAligned)
        {
            to->Alignment = to->Bytes;
        }
        int element = info.CanBroadcast ? info.BroadcastMemorySize.GetSize() : info.MemorySize.GetElementSize();
        to->ElementBytes = (byte)Math.Min(element, to->Bytes);
        to->Elements = (byte)(info.MemorySize.GetSize() / element);
        to->Traits |= instruction.IsBroadcast ? PassedOnTraits.Repeats : 0;
        if (FaultSuppression.IsBroadcast(instruction.Mnemonic))
        {
            to->Elements = (byte)(instruction.Op0Register.GetSize() / element);
            to->Traits |= PassedOnTraits.Repeats;
        }
        to->Traits |= FaultSuppression.Packs(instruction.Mnemonic) ? PassedOnTraits.Packs : 0;
        to->Traits |= FaultSuppression.Of(in instruction) ? PassedOnTraits.Suppresses : 0;
    }

    /// <summary>#UD without a mask, or if a gather's destination is its index (SDM 2 2.7.11, class E12).</summary>
    private static void BindElements(in Instruction instruction, Op* op, PassedOnInstruction* to)
    {
        bool store = instruction.Op0Kind == OpKind.Memory;
        Register vector = store ? instruction.Op1Register : instruction.Op0Register;
        if (to->Mask == 0 || (!store && vector.GetNumber() == instruction.MemoryIndex.GetNumber()))
        {
            op->Handler = &SystemInstructions.InvalidOpcode;
            return;
        }
        to->Register = Slots.Of(vector);
        to->ElementBytes = (byte)instruction.MemorySize.GetElementSize();
        to->Bytes = instruction.IsVsib32 ? (byte)sizeof(int) : (byte)sizeof(long);
        to->Elements = (byte)Math.Min(instruction.MemoryIndex.GetSize() / to->Bytes, vector.GetSize() / to->ElementBytes);
        op->Handler = store ? &PassedOnHandlers.Scatter : &PassedOnHandlers.Gather;
    }

    private sealed class CodeBuffer : CodeWriter
    {
        public byte[] Bytes { get; } = new byte[PassedOnInstruction.MaximumCode];

        public int Count { get; set; }

        public override void WriteByte(byte value) => Bytes[Count++] = value;
    }
}
