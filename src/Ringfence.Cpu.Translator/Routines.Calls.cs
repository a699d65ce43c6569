namespace Ringfence.Cpu.Translator;

/// <summary>
/// The guest's calls on the host's stack: for each the guest's return address, and below it the host's. At the bottom lies one for the guest's address 0, which
/// leads to the search for what is there. Whatever leaves translated code forgets them all.
/// </summary>
internal sealed partial class Routines
{
    /// <summary>Of the host's stack, at most.</summary>
    private const int CallBytes = 16 << 10;
    private const int FrameBytes = 16;

    private int _bottom;

    /// <summary>Called when a return goes elsewhere than the last call came from. The flags and <see cref="Host.Scratch"/> are lost.</summary>
    public int ForgetCall { get; private set; }

    /// <summary>Called when there are too many. The flags are lost.</summary>
    public int ForgetCalls { get; private set; }

    private void PushBottom()
    {
        // PUSH 0, and of the code's address, by way of a register.
        _e.Bytes([0x6A, 0x00]);
        _e.MoveImmediate(Host.Scratch, _e.Address(_bottom));
        _e.Push(Host.Scratch);
    }

    /// <summary>A guest returned to 0.</summary>
    private void WriteBottom()
    {
        _bottom = _e.Position;
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, 8);
        PushBottom();
        _e.Register(false, 0x33, Host.Address, Host.Address);
        _e.Transfer(0xE9, Dispatch);
    }

    private void WriteForgetCall()
    {
        Label bottom = new();
        ForgetCall = _e.Position;
        _e.Pop(Host.Scratch);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, FrameBytes);
        _e.WithState(0x3B, Host.Rsp, StateOffsets.HostStack);
        _e.Jump(Condition.AboveOrEqual, bottom);
        _e.JumpIndirect(Host.Scratch);
        _e.Bind(bottom);
        // That is not forgotten.
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, -FrameBytes);
        _e.JumpIndirect(Host.Scratch);
    }

    private void WriteForgetCalls()
    {
        ForgetCalls = _e.Position;
        _e.Pop(Host.Address);
        _e.Load(Host.Rsp, StateOffsets.HostStack);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, -FrameBytes);
        _e.JumpIndirect(Host.Address);
    }
}
