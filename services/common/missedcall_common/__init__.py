"""What more than one service needs: `sip` reads SIP, `runtime` keeps settings and log events."""
