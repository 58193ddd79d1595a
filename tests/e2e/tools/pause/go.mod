module s2ops.test/cluster/pause

go 1.24.0
