using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Stops;
using Ringfence.Cpu.X87;
using Ringfence.Host;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Decodes guest code into ops: from RIP to the first transfer, change of mode, page end or <see cref="BlockCache.MaximumInstructions"/>.</summary>
internal sealed unsafe class BlockBuilder : IDisposable
{
    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly CodeReaderOfGuest _reader;
    private readonly Decoder[] _decoders;
    private readonly Binder _binder;
    private readonly GuardBinder _guards;
    private readonly byte[] _bytes = new byte[16];
    private Op* _step;

    public BlockBuilder(Processor processor, CpuState* state, GuestMemory memory)
    {
        _processor = processor;
        _s = state;
        _reader = new CodeReaderOfGuest(processor, memory);
        _decoders = [Decoder.Create(16, _reader), Decoder.Create(32, _reader), Decoder.Create(64, _reader)];
        _binder = new Binder(state, processor.Model);
        _guards = new GuardBinder(state);
        _step = (Op*)NativeMemory.Alloc(GuardBinder.OpsPerInstruction + 2, (nuint)sizeof(Op));
    }

    public BuiltBlock Build(Op* ops, ulong linear, ulong physical) => Build(ops, linear, physical, BlockCache.MaximumInstructions, false);

    public Op* BuildStep(ulong linear, ulong physical) => Build(_step, linear, physical, 1, true).Ops == 0 ? null : _step;

    /// <summary>The instruction at RIP, decoded anew. Invalid if it cannot be fetched.</summary>
    public Instruction Decode(ulong linear, ulong physical)
    {
        Decoder decoder = _decoders[_s->Mode & CodeMode.BitsMask];
        _reader.Start(linear, physical);
        decoder.IP = _s->Rip;
        decoder.Decode(out Instruction instruction);
        return instruction;
    }

    public void Dispose()
    {
        NativeMemory.Free(_step);
        _step = null;
    }

    private BuiltBlock Build(Op* ops, ulong linear, ulong physical, int limit, bool step)
    {
        Decoder decoder = _decoders[_s->Mode & CodeMode.BitsMask];
        _reader.Start(linear, physical);
        decoder.IP = _s->Rip;
        int count = 0;
        int bytes = 0;
        Op* op = ops;
        bool ended = false;
        if (!step && (_s->Mode & CodeMode.Breakpoints) != 0)
        {
            *op++ = new Op { Handler = &BlockGuard.Breakpoints };
        }
        if (!step && (_s->Mode & CodeMode.Flat) == 0)
        {
            *op++ = new Op { Handler = &BlockGuard.CodeLimit };
        }
        Op* guarded = op;
        StopPoints? stops = _processor.Stops;
        Op* hot = null;
        if (!step && stops is null && _processor.Translator is { } translator && translator.Accepts(_s->Mode))
        {
            hot = op++;
            *hot = new Op { Handler = &HotBlock.Count, Immediate = (ulong)translator.Threshold, AddressMask = physical, Scale = HotBlock.Counts };
        }
        bool oneByOne = step && ((_s->SystemFlags & Flags.Trap) != 0 || (_s->Dr[7] & 0xFF) != 0 || stops is { Single: true } or { WatchesData: true });
        while (count < limit && !ended)
        {
            decoder.Decode(out Instruction instruction);
            int length = instruction.Length;
            if (_reader.Faulted && (instruction.IsInvalid || _reader.Position < bytes + length))
            {
                if (count > 0)
                {
                    // The fault belongs to the next block: it is raised if the guest gets there.
                    _processor.ForgetFault();
                    break;
                }
                return default;
            }
            if (_reader.CrossedPage && !step)
            {
                if (count > 0)
                {
                    break;
                }
                if (hot != null)
                {
                    op = hot;
                    hot = null;
                }
                // Alone in its block, behind a guard that its second page is still the same.
                *op = new Op { Handler = &BlockGuard.Page, Immediate = (ulong)_reader.SecondHostPage };
                op++;
                limit = 1;
            }
            if (stops is not null && stops.Guards(linear + (ulong)bytes))
            {
                *op++ = new Op { Handler = &StopGuard.Check, IpOffset = (ushort)bytes, Ordinal = (byte)count };
            }
            *op = default;
            op->IpOffset = (ushort)bytes;
            op->Length = (byte)length;
            op->Ordinal = (byte)count;
            ended = _binder.Bind(in instruction, op, _s->Rip);
            if (_binder.IsX87)
            {
                _reader.CopyTo(bytes, _bytes.AsSpan(0, length));
                op->Source = X87Binder.OpcodeOf(_bytes.AsSpan(0, length));
            }
            op->Field = _binder.Refused ? (byte)0 : ImmediateField.Of(in instruction);
            bytes += length;
            count++;
            op = _guards.Guard(in instruction, op, _binder.Refused, oneByOne);
            if (_binder.IsPassedOn)
            {
                *op = default;
                op->IpOffset = op[-1].IpOffset;
                op->Length = op[-1].Length;
                op->Ordinal = op[-1].Ordinal;
                _processor.Translator!.PassOn(in instruction, op - 1, op);
                op++;
            }
            if (((linear + (ulong)bytes) & 0xFFF) < (ulong)length && !ended)
            {
                break;
            }
        }
        for (Op* guard = ops; guard < guarded; guard++)
        {
            guard->Immediate = (ulong)bytes;
        }
        if (!ended)
        {
            *op = new Op { Handler = step ? &ControlFlow.EndOfStep : &ControlFlow.EndOfBlock, IpOffset = (ushort)bytes, Ordinal = (byte)count };
            if (!step && ((linear ^ (linear + (ulong)bytes)) & ~0xFFFUL) == 0)
            {
                op->Extra = ControlFlow.LinkNotTaken;
            }
            op++;
        }
        if (hot != null)
        {
            hot->Displacement = bytes;
            hot->Source = (ushort)(op - hot);
            if (_reader.InRam)
            {
                HotBlock.Sign(hot, _reader.Bytes(bytes));
            }
        }
        return new BuiltBlock((int)(op - ops), bytes, _reader.InRam, _reader.SecondPhysical, hot == null ? -1 : (int)(hot - ops));
    }

    /// <summary>Gives the decoder guest bytes, over the end of the page if it must.</summary>
    private sealed class CodeReaderOfGuest(Processor processor, GuestMemory memory) : CodeReader
    {
        private byte* _first;
        private byte* _second;
        private ulong _linear;
        private int _inFirst;
        private ulong _limit;

        public int Position { get; private set; }

        /// <summary>A byte could not be fetched; the fault is recorded.</summary>
        public bool Faulted { get; private set; }

        public bool CrossedPage => Position > _inFirst;

        public bool InRam { get; private set; }

        public ulong SecondPhysical { get; private set; }

        public byte* SecondHostPage => _second;

        public void Start(ulong linear, ulong physical)
        {
            _linear = linear;
            _first = memory.Pointer(physical);
            _second = null;
            _inFirst = (int)(GuestMemory.PageSize - (linear & 0xFFF));
            Position = 0;
            CpuState* s = processor.State;
            _limit = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? ulong.MaxValue : s->Cs.Limit - ((linear - s->Cs.Base) & uint.MaxValue) + 1;
            Faulted = false;
            InRam = _first != null;
        }

        public override int ReadByte()
        {
            if ((ulong)Position >= _limit)
            {
                Faulted = true;
                Exits.Record(processor.State, Vectors.GeneralProtection);
                return -1;
            }
            if (Position < _inFirst)
            {
                // Nothing to run outside RAM yet: reads as all ones, which is no instruction.
                int at = Position++;
                return _first == null ? 0xFF : _first[at];
            }
            if (_second == null && !FetchSecond())
            {
                return -1;
            }
            return _second[Position++ - _inFirst];
        }

        /// <summary>The first so many bytes, all of the first page.</summary>
        public ReadOnlySpan<byte> Bytes(int count) => new(_first, count);

        /// <summary>Bytes that were read.</summary>
        public void CopyTo(int position, Span<byte> destination)
        {
            for (int i = 0; i < destination.Length; i++, position++)
            {
                destination[i] = position < _inFirst ? _first[position] : _second[position - _inFirst];
            }
        }

        private bool FetchSecond()
        {
            if (Faulted || !processor.CheckFetch(_linear + (ulong)_inFirst)
                || !processor.Mmu.TranslateFetch((_linear + (ulong)_inFirst) & processor.State->LinearMask, out ulong physical))
            {
                Faulted = true;
                return false;
            }
            processor.Blocks.Acquire(physical);
            SecondPhysical = physical;
            _second = memory.Pointer(physical, GuestMemory.PageSize);
            InRam &= _second != null;
            if (_second == null)
            {
                Faulted = true;
                Exits.Record(processor.State, Vectors.GeneralProtection);
            }
            return !Faulted;
        }
    }
}
