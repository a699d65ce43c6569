using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>Between the guest's x87 unit as the interpreter has it and the host's own: by way of an image as FRSTOR loads and FNSAVE stores it, in
/// half the time of XRSTOR and XSAVE. It has registers in the order of the stack, ten bytes each, and two bits of tag for each.</summary>
internal sealed unsafe partial class Routines
{
    private const int Control = 0;
    private const int Status = 4;
    private const int TagWord = 8;
    private const int Stack = 28;

    /// <summary>Called when the guest's x87 unit is wanted. Returns five bytes on if it has exceptions unmasked: the host must not meet them.</summary>
    public int LoadX87 { get; private set; }

    private void WriteLoadX87()
    {
        LoadX87 = _e.Position;
        Label refused = new();
        _e.Load32(Host.Scratch, StateOffsets.X87ControlWord);
        _e.Immediate(false, 4, Host.Scratch, (int)X87Status.Exceptions);
        _e.Immediate(false, 7, Host.Scratch, (int)X87Status.Exceptions);
        _e.Jump(Condition.NotEqual, refused);
        _e.Push(Host.Rax);
        _e.Push(Host.Rcx);
        _e.Push(Host.Rdx);
        LoadWord(Host.Rax, StateOffsets.X87ControlWord);
        Store32(Host.Rax, Control);
        LoadWord(Host.Rcx, StateOffsets.X87StatusWord);
        Store32(Host.Rcx, Status);
        // A set bit says that the register is not empty, 11 that it is.
        _e.Memory(false, 0x1B6, Host.Rax, Host.State, StateOffsets.X87Tags - Host.StateBias);
        _e.Immediate(false, 6, Host.Rax, 0xFF);
        Spread(4, 0x0F0F);
        Spread(2, 0x3333);
        Spread(1, 0x5555);
        _e.Memory(false, 0x8D, Host.Rax, Host.Rax, Host.Rax, 1, 0);
        Store32(Host.Rax, TagWord);
        Registers(false);
        _e.Memory(false, 0xDD, 4, Host.State, Image(0));
        SetLoaded(StateOffsets.X87Loaded, 1);
        _e.Pop(Host.Rdx);
        _e.Pop(Host.Rcx);
        _e.Pop(Host.Rax);
        _e.Byte(0xC3);
        _e.Bind(refused);
        ReturnFurther(0);

        void Spread(int count, int mask)
        {
            _e.Move32(Host.Rdx, Host.Rax);
            _e.Shift(false, 4, Host.Rdx, count);
            _e.Register(false, 0x0B, Host.Rax, Host.Rdx);
            _e.Immediate(false, 4, Host.Rax, mask);
        }
    }

    /// <summary>All but <see cref="Host.Scratch"/> is free. FNSAVE leaves the host's unit as FNINIT does.</summary>
    private void StoreX87()
    {
        _e.Memory(false, 0xDD, 6, Host.State, Image(0));
        LoadImage(Host.Rax, Control);
        StoreWord(Host.Rax, StateOffsets.X87ControlWord);
        LoadImage(Host.Rcx, Status);
        StoreWord(Host.Rcx, StateOffsets.X87StatusWord);
        LoadImage(Host.Rax, TagWord);
        _e.Move32(Host.Rdx, Host.Rax);
        _e.Shift(false, 5, Host.Rdx, 1);
        _e.Register(false, 0x23, Host.Rax, Host.Rdx);
        _e.Immediate(false, 4, Host.Rax, 0x5555);
        Gather(1, 0x3333);
        Gather(2, 0x0F0F);
        Gather(4, 0xFF);
        _e.Immediate(false, 6, Host.Rax, 0xFF);
        _e.Memory(false, 0x88, Host.Rax, Host.State, StateOffsets.X87Tags - Host.StateBias);
        Registers(true);
        SetLoaded(StateOffsets.X87Loaded, 0);

        void Gather(int count, int mask)
        {
            _e.Move32(Host.Rdx, Host.Rax);
            _e.Shift(false, 5, Host.Rdx, count);
            _e.Register(false, 0x0B, Host.Rax, Host.Rdx);
            _e.Immediate(false, 4, Host.Rax, mask);
        }
    }

    /// <summary>Copies the registers between image and state, which has them in physical order. The status word is in RCX; RAX, RDX and
    /// <see cref="Host.Address"/> are lost too.</summary>
    private void Registers(bool store)
    {
        const int Bytes = 16;
        const int All = 8 * Bytes;
        _e.LoadAddress(true, Host.Address, Host.State, StateOffsets.X87Registers - Host.StateBias);
        // TOP times 16.
        _e.Shift(false, 5, Host.Rcx, X87Status.TopShift - 4);
        for (int i = 0; i < 8; i++)
        {
            int image = Image(Stack + (10 * i));
            _e.Immediate(false, 4, Host.Rcx, All - Bytes);
            if (store)
            {
                _e.Memory(true, 0x8B, Host.Rax, Host.State, image);
                _e.Memory(false, 0x1B7, Host.Rdx, Host.State, image + 8);
                _e.Memory(true, 0x89, Host.Rax, Host.Address, Host.Rcx, 0, 0);
                _e.Memory(true, 0x89, Host.Rdx, Host.Address, Host.Rcx, 0, 8);
            }
            else
            {
                _e.Memory(true, 0x8B, Host.Rax, Host.Address, Host.Rcx, 0, 0);
                _e.Memory(true, 0x8B, Host.Rdx, Host.Address, Host.Rcx, 0, 8);
                _e.Memory(true, 0x89, Host.Rax, Host.State, image);
                _e.Byte(0x66);
                _e.Memory(false, 0x89, Host.Rdx, Host.State, image + 8);
            }
            _e.Immediate(false, 0, Host.Rcx, Bytes);
        }
    }

    private static int Image(int offset) => StateOffsets.X87Image + offset - Host.StateBias;

    private void LoadWord(int register, int offset) => _e.Memory(false, 0x1B7, register, Host.State, offset - Host.StateBias);

    private void StoreWord(int register, int offset)
    {
        _e.Byte(0x66);
        _e.Memory(false, 0x89, register, Host.State, offset - Host.StateBias);
    }

    private void LoadImage(int register, int offset) => _e.Memory(false, 0x1B7, register, Host.State, Image(offset));

    private void Store32(int register, int offset) => _e.Memory(false, 0x89, register, Host.State, Image(offset));
}

/// <summary>Those of the x87 unit.</summary>
internal static unsafe partial class StateOffsets
{
    public static int X87Loaded => Of(&Nowhere->X87Loaded);

    public static int X87Image => Of(Nowhere->Translated.X87Image);

    /// <summary>Physical register 0.</summary>
    public static int X87Registers => Of(&Nowhere->X87);

    public static int X87ControlWord => Of(&Nowhere->X87.ControlWord);

    public static int X87StatusWord => Of(&Nowhere->X87.StatusWord);

    public static int X87Tags => Of(&Nowhere->X87.Tags);

    public static int X87Opcode => Of(&Nowhere->X87.Opcode);

    public static int X87InstructionSelector => Of(&Nowhere->X87.InstructionSelector);

    public static int X87DataSelector => Of(&Nowhere->X87.DataSelector);

    public static int X87InstructionPointer => Of(&Nowhere->X87.InstructionPointer);

    public static int X87DataPointer => Of(&Nowhere->X87.DataPointer);
}
